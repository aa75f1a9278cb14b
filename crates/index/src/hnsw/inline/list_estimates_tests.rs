//! Estimates of lists beside the distances that they estimate.

use super::*;
use crate::hnsw::graph::GraphRead;
use crate::hnsw::inline::graph::Room;
use crate::hnsw::inline::tests::{EF_CONSTRUCTION, clustered, graph, shape, value, write};
use crate::quant::space::Cosine;
use crate::space::{AnySpace, Metric, ValueBuf, ValueKind};
use crate::work::memory::with_room;

#[test]
fn turns_are_sines() {
    for n in -10..=10 {
        let x = n as f32 / 10.0;
        assert!((turn(x) - (x * core::f32::consts::FRAC_PI_2).sin()).abs() < 2e-4, "{x}");
    }
}

/// Shares of the pairs of which estimates say the same as distances: of an element and the owner, of the offered one
/// and an element, of two elements; and of those two that seem near, the share of those that are.
fn agreement<S: CodedSpace>(space: S, kind: ValueKind, dims: usize, values: &[ValueBuf]) -> [f64; 4] {
    let built = graph(space, values);
    let (mut blocks, index) = write(space, &shape(kind, dims), &built, usize::MAX, 0);
    let mut room = Room::new();
    let mut index = InlineGraph::new(&mut blocks, &index, EF_CONSTRUCTION, &mut room);
    let new = values.last().unwrap();
    assert!(index.begin_estimates(new.bytes()).unwrap());
    let mut members = Vec::new();
    for page in index.pages().unwrap() {
        index
            .visit_page(page, false, |element| {
                members.push(element.member);
                Ok(())
            })
            .unwrap();
    }
    let read = |tid: Tid, index: &mut InlineGraph<'_, _, S>| -> ValueBuf {
        let mut buffer = ValueBuf::new();
        index
            .element(tid, |_, bytes| {
                buffer.copy_from(bytes);
                Ok(())
            })
            .unwrap();
        buffer
    };
    let far = |a: &ValueBuf, b: &ValueBuf| {
        space.distance(space.view(a.bytes()).unwrap(), space.view(b.bytes()).unwrap())
    };
    let (mut slots, mut edges) = (with_room(0).unwrap(), Vec::new());
    let (mut right, mut all) = ([0.0; 4], [0.0f64; 4]);
    for member in members.iter().take(60) {
        let owner = read(member.tid, &mut index);
        let distance = far(&owner, new);
        if !index.estimate_list(member, distance, &mut slots, &mut edges).unwrap() {
            // the new value's own node, or one of its list
            continue;
        }
        let found: Vec<ValueBuf> = slots.iter().map(|&tid| read(tid, &mut index)).collect();
        // distances count from the owner's own
        let alike = far(&owner, &owner);
        for (a, (edge, value)) in edges.iter().zip(&found).enumerate() {
            let own = far(&owner, value);
            right[0] += f64::from(u8::from((edge.own - own).abs() <= 0.05 * (own - alike).abs() + 1e-4));
            all[0] += 1.0;
            right[1] += f64::from(u8::from((edge.new <= own) <= (far(new, value) <= own)));
            all[1] += 1.0;
            let near = index.estimated_nearer(a);
            assert!(!near.has(a));
            for (b, other) in found.iter().enumerate().filter(|(b, _)| *b != a) {
                let (seems, is) = (near.has(b), far(value, other) <= own);
                right[2] += f64::from(u8::from(seems == is));
                all[2] += 1.0;
                right[3] += f64::from(u8::from(seems && is));
                all[3] += f64::from(u8::from(seems));
            }
        }
        // another that has its place now has no list
        let later = Member { version: member.version + 1, ..*member };
        assert!(!index.estimate_list(&later, distance, &mut slots, &mut edges).unwrap());
    }
    assert!(all.iter().all(|&count| count > 100.0), "{all:?}");
    core::array::from_fn(|n| right[n] / all[n])
}

/// What seems near is so for the most part: with codes of one bit, from 160 dimensions on, a quarter is a little
/// farther.
#[test]
fn estimates_agree_with_distances() {
    for dims in [100, 256] {
        let values: Vec<ValueBuf> =
            clustered(9, dims, 600, 12).iter().map(|x| value(ValueKind::Vector, x)).collect();
        for metric in [Metric::L2, Metric::InnerProduct] {
            let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, metric, dims as i32) else {
                panic!()
            };
            let shares = agreement(space, ValueKind::Vector, dims, &values);
            println!("{dims} {metric:?} {shares:?}");
            assert!(
                shares[0] > 0.97 && shares[1] > 0.97 && shares[2] > 0.75 && shares[3] > 0.7,
                "{dims} {metric:?} {shares:?}"
            );
        }
        let shares = agreement(Cosine::<f32>::new(dims as i32), ValueKind::Vector, dims, &values);
        println!("{dims} cosine {shares:?}");
        assert!(
            shares[0] > 0.97 && shares[1] > 0.97 && shares[2] > 0.75 && shares[3] > 0.7,
            "{dims} cosine {shares:?}"
        );
    }
}
