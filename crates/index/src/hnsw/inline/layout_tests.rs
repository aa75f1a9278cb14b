use super::slots::FRONT_END;
use super::*;
use crate::filter::{MAX_COLUMNS, Packing};
use crate::storage::page::{Damage, SPECIAL_SIZE};
use half::f16;

use crate::hnsw::params::MAX_LEVEL;

const PAGE: usize = 8192;

fn shape(kind: ValueKind, dims: usize, m: usize) -> Shape {
    Shape::new(kind, dims, m, Packings::NONE, PAGE)
}

fn layout(kind: ValueKind, dims: usize, m: usize) -> Layout {
    Layout::new(shape(kind, dims, m), PAGE).unwrap()
}

#[repr(align(8))]
struct Room([u8; PAGE]);

#[test]
fn records_of_the_usual_dimensions() {
    let ground = layout(ValueKind::Vector, 100, 16).ground;
    // header, ids, factors, codes of two bits for 112 elements, value
    assert_eq!(ground.size, 40 + 128 + 128 + 32 * 28 + 408);
    assert_eq!((ground.slots.per_page, ground.is_whole()), (5, true));
    let of = |dims| layout(ValueKind::Vector, dims, 16).ground;
    assert_eq!((of(384).slots.per_page, of(384).is_whole()), (2, true));
    assert_eq!((of(784).slots.per_page, of(784).is_whole()), (1, true));
    // the value on a page of its own, the codes beside the ids
    assert!(of(1536).is_value_apart());
    assert_eq!(of(1536).cost(PAGE), 2 * PAGE);
    // 2000, the most that the first layout takes, fill two pages to the last byte
    assert_eq!((of(2000).size, of(2000).pages(), of(2000).cost(PAGE)), (2 * 8152, 2, 2 * PAGE));
    // bits in the place of codes
    let bit = layout(ValueKind::Bit, 1024, 16).ground;
    assert_eq!((bit.size, bit.is_whole()), (40 + 128 + 32 * 128 + 136, true));
    // large values go on over pages
    for dims in [3000, 16_000] {
        assert!(of(dims).rest_pages > 1 && !of(dims).is_value_apart(), "{dims}");
    }
    assert_eq!(Layout::new(shape(ValueKind::Sparsevec, 100, 16), PAGE), None);
}

/// As many bits as 2.3 times the first layout's bytes allow, and no fewer than are exact enough.
#[test]
fn codes_have_the_bits_that_bytes_allow() {
    let bits = |kind, dims, m| shape(kind, dims, m).bits;
    let mixed = |doubled, padded| Bits::new(1, doubled, padded).unwrap();
    assert_eq!(bits(ValueKind::Vector, 100, 16), Bits::TWO);
    assert_eq!(bits(ValueKind::Vector, 128, 16), mixed(64, 128));
    assert_eq!(bits(ValueKind::Halfvec, 100, 16), mixed(48, 112));
    for kind in [ValueKind::Vector, ValueKind::Halfvec] {
        for m in [2, 8, 16, 32, 100] {
            for dims in 1..300 {
                let (shape, padded) = (shape(kind, dims, m), Rotation::padded_to(dims));
                let of = |bits| Layout::new(Shape { bits, ..shape }, PAGE).unwrap().cost();
                let most = MOST_BYTES * first_bytes(kind, dims, m, PAGE).unwrap_or(f64::INFINITY);
                let error = |bits: Bits| bits.error(padded) / (padded as f32).sqrt();
                assert!(shape.bits == Bits::TWO || error(shape.bits) <= MOST_ERROR, "{kind:?} {m} {dims}");
                if error(Bits::ONE) <= MOST_ERROR {
                    assert_eq!(shape.bits, Bits::ONE);
                } else if of(shape.bits) > most && shape.bits != Bits::TWO {
                    // with fewer it would not be exact enough
                    let fewer = shape.bits.doubled().checked_sub(16).unwrap();
                    assert!(error(mixed(fewer, padded)) > MOST_ERROR, "{kind:?} {m} {dims}");
                }
            }
        }
    }
    let upper = layout(ValueKind::Vector, 100, 16).upper;
    assert_eq!((upper.bits, upper.slots.per_page), (Bits::ONE, 9));
}

/// Whatever the shape: nothing overlaps, all of a record has a place, and slots lie within the page.
#[test]
fn every_shape_has_a_place_for_everything() {
    for kind in [ValueKind::Vector, ValueKind::Halfvec, ValueKind::Bit] {
        for m in [2, 5, 16, 64, 100] {
            for dims in [1, 2, 3, 16, 17, 100, 383, 384, 480, 640, 960, 1000, 1536, 2000, 3072, 16_000] {
                for columns in [0, 1, MAX_COLUMNS] {
                    let filters =
                        Packings::new([Packing::Whole; MAX_COLUMNS].into_iter().take(columns)).unwrap();
                    let shape = Shape { filters, ..shape(kind, dims, m) };
                    let layout = Layout::new(shape, PAGE).unwrap();
                    for records in [&layout.ground, &layout.upper] {
                        let own = if records.is_whole() { 0..0 } else { records.own_keys() };
                        let mut places = vec![
                            RECORD_HEADER..RECORD_HEADER + 4 * records.neighbours,
                            records.edge_keys_of(0),
                            records.edge_keys_of(records.neighbours - 1),
                            own,
                            records.code(0),
                            records.code(records.neighbours - 1),
                            records.value(),
                        ];
                        places.retain(|place| !place.is_empty());
                        places.sort_by_key(|place| place.start);
                        assert!(records.own_keys().end <= records.head());
                        assert!(!records.is_whole() || records.own_keys().end == records.value().end);
                        for pair in places.windows(2) {
                            assert!(pair[0].end <= pair[1].start, "{shape:?} {pair:?}");
                        }
                        assert!(records.value().end <= records.size && records.value_at % 8 == 0);
                        let rests = records.rest_slots.size * records.rest_pages.max(1);
                        assert!(records.head() <= records.slots.size && records.rest <= rests);
                        assert!(records.head() >= records.codes_at && records.head() % 8 == 0);
                        for slots in [records.slots, records.rest_slots, layout.chain, layout.long_chain] {
                            if slots.size > 0 {
                                let end = slots.range(slots.per_page - 1).end;
                                assert!(
                                    slots.per_page > 0 && end <= PAGE - SPECIAL_SIZE,
                                    "{shape:?} {slots:?}"
                                );
                                // behind the front, in which the bits of eight have room
                                let bits = if slots.per_page > 8 { slots.per_page.div_ceil(8) } else { 0 };
                                assert!(slots.range(0).start >= FRONT_END + bits);
                                assert_eq!(slots.range(0).start % 8, 0);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Filter columns cost little: what a page holds of records is what it holds without them.
#[test]
fn filter_columns_cost_little() {
    for packings in [[Packing::Signed4; 2], [Packing::Signed4, Packing::Whole], [Packing::Whole; 2]] {
        let filters = Packings::new(packings).unwrap();
        for dims in [100, 128, 200, 256, 384, 512, 768, 784, 1024, 1536] {
            let plain = layout(ValueKind::Vector, dims, 16).ground.cost(PAGE);
            let shape = Shape { filters, ..shape(ValueKind::Vector, dims, 16) };
            let layout = Layout::new(shape, PAGE).unwrap();
            let cost = layout.ground.cost(PAGE);
            let percent = cost * 100 / plain;
            assert!(percent <= 108, "{packings:?} {dims}: {percent} hundredths");
        }
    }
}

/// Beside what the first layout takes for the same: what is promised.
#[test]
fn records_cost_what_was_promised() {
    let first = |value: usize, m: usize| {
        let pair =
            crate::hnsw::v1::layout::element_size(value) + crate::hnsw::v1::layout::neighbours_size(0, m) + 8;
        PAGE / ((PAGE - 32) / pair).max(1)
    };
    for dims in [50, 100, 128, 200, 256, 384, 512, 768, 784, 1024, 1536] {
        let cost = layout(ValueKind::Vector, dims, 16).ground.cost(PAGE);
        let ratio = cost as f64 / first(8 + 4 * dims, 16) as f64;
        assert!(ratio < 2.51, "{dims}: {cost} bytes, {ratio}");
    }
}

#[test]
fn pages_say_what_they_are_and_how_far_they_are_filled() {
    let slots = layout(ValueKind::Vector, 100, 16).ground.slots;
    let mut room = Room([0xaa; PAGE]);
    slots.init(&mut room.0, PageKind::Ground);
    let mut faults = Vec::new();
    crate::storage::verify::page(&room.0, PAGE_ID, false, |fault| faults.push(fault));
    assert_eq!(faults, []);
    assert!(!slots.is_odd(&room.0));
    assert_eq!(page_kind(&room.0), Ok(Some(PageKind::Ground)));
    assert!(slots.get(&room.0, PageKind::Ground, 4).is_ok());
    assert!(slots.get(&room.0, PageKind::Ground, 5).is_err());
    assert!(slots.get(&room.0, PageKind::Upper, 0).is_err());
    let others = layout(ValueKind::Vector, 128, 16).ground.slots;
    assert!(others.get(&room.0, PageKind::Ground, 0).is_err(), "slots of another size");
    for slot in 0..5 {
        assert!(!slots.is_used(&room.0, slot));
        slots.set_used(&mut room.0, slot, true);
        assert!(slots.is_used(&room.0, slot));
    }
    // pd_lower is behind the last slot
    assert_eq!(usize::from(u16::from_ne_bytes([room.0[12], room.0[13]])), slots.range(4).end);
    slots.set_used(&mut room.0, 3, false);
    assert!(!slots.is_odd(&room.0));
    room.0[slots.range(4).end] = 1;
    assert!(slots.is_odd(&room.0));
    room.0[slots.range(4).end] = 0;
    assert!(!slots.is_used(&room.0, 3) && slots.is_used(&room.0, 4));
    slots.set_used(&mut room.0, 5, true);
    assert!(!slots.is_used(&room.0, 5));
    assert_eq!(page_kind(&[0; PAGE]), Ok(None));
    assert!(page_kind(&[1; PAGE]).is_err());
}

/// Pages of eight slots and fewer, whose bits are in the front, and of more, whose are behind it.
#[test]
fn bits_of_used_slots_are_where_there_is_room() {
    for (size, start) in [(Slots::largest(PAGE), FRONT_END), (1000, FRONT_END), (800, FRONT_END + 8)] {
        let slots = Slots::new(size, PAGE);
        assert_eq!(slots.range(0).start, start);
        let mut room = Room([0; PAGE]);
        slots.init(&mut room.0, PageKind::Chain);
        for slot in 0..slots.per_page {
            slots.set_used(&mut room.0, slot, true);
        }
        assert!((0..slots.per_page).all(|slot| slots.is_used(&room.0, slot)));
        // the kind and the size are still known, and each byte of the front but that of bits says them
        assert!(!slots.is_odd(&room.0) && slots.get(&room.0, PageKind::Chain, 0).is_ok());
        for at in FRONT_END - 8..FRONT_END {
            room.0[at] ^= 0x80;
            let other = slots.get(&room.0, PageKind::Chain, 0).is_err();
            // a bit of a slot that does not exist, or of eight that do
            let stray = slots.is_odd(&room.0);
            assert_eq!((other, stray), (at != FRONT_END - 7, at == FRONT_END - 7 && slots.per_page != 8));
            room.0[at] ^= 0x80;
        }
    }
    assert_eq!([Slots::largest(PAGE), 1000, 800].map(|size| Slots::new(size, PAGE).per_page), [1, 8, 10]);
}

#[test]
fn ids_name_slots() {
    let slots = layout(ValueKind::Vector, 100, 16).ground.slots;
    for (block, slot) in [(1, 0), (1, 4), (77, 2), (u32::MAX / 5 - 1, 4)] {
        let id = slots.id(block, slot).unwrap();
        assert_eq!(slots.place(id), (block, slot));
    }
    assert_eq!(slots.id(u32::MAX, 0), None);
}

#[test]
fn factors_of_any_size_keep_their_precision() {
    let records = layout(ValueKind::Vector, 100, 16).ground;
    for magnitude in [1e-30f32, 1e-6, 1.0, 1e5, 1e30] {
        let mut room = Room([0; PAGE]);
        let bytes = &mut room.0[..records.slots.size];
        bytes[..RECORD_HEADER].copy_from_slice(RecordHeader::new(0, 0).as_bytes());
        let adds: Vec<f32> = (1..=32).map(|n| magnitude * n as f32 / 7.0).collect();
        let scales: Vec<f32> = adds.iter().map(|x| -x / 300.0).collect();
        put_ids(&records, bytes, &(0..32).collect::<Vec<_>>(), &[]);
        put_factors(&records, bytes, &adds, &scales);
        let record = Record::new(&records, bytes, 0).unwrap();
        let header = record.header;
        for (stored, exponent, wanted) in
            [(record.adds(), header.add_exponent, adds), (record.scales(), header.scale_exponent, scales)]
        {
            for (half, wanted) in stored.iter().zip(wanted) {
                let got = half.to_f32() * power(exponent);
                assert!((got - wanted).abs() <= wanted.abs() * 5e-4, "{got}, not {wanted}");
            }
        }
    }
    // a larger one still fits afterwards
    assert!(exponent_for(1.0) + 12 == 0 && f16::from_f32(8.0 * power(12)).is_finite());
}

#[test]
fn headers_that_no_record_has_are_damage() {
    let records = layout(ValueKind::Vector, 100, 16).ground;
    let mut room = Room([0; PAGE]);
    let bytes = &mut room.0[..records.slots.size];
    let good = RecordHeader { neighbours: 32, ..RecordHeader::new(3, 1) };
    let cases = [
        RecordHeader { state: 4, ..good },
        RecordHeader { level: MAX_LEVEL + 1, ..good },
        RecordHeader { layer: 4, ..good },
        RecordHeader { neighbours: 33, ..good },
    ];
    bytes[..RECORD_HEADER].copy_from_slice(good.as_bytes());
    assert_eq!(Record::new(&records, bytes, 0).unwrap().ids().len(), 32);
    for header in cases {
        bytes[..RECORD_HEADER].copy_from_slice(header.as_bytes());
        assert_eq!(Record::new(&records, bytes, 2).err(), Some(Damage::at(3, "invalid record")));
    }
    assert!(Record::new(&records, &bytes[..100], 0).is_err());
    let mut segment_bytes = [0u8; 116];
    put_segment(&mut segment_bytes, SegmentHeader::new(7, 3, Tid::new(1, 1), 0, 1), &[Tid::new(5, 6); 20]);
    let (header, tids) = segment(&segment_bytes, 0).unwrap();
    assert_eq!((header.owner, header.next, tids.len()), (7, Tid::new(1, 1), SHORT_SEGMENT));
    segment_bytes[15] = 0xff;
    assert!(segment(&segment_bytes, 0).is_err());
}
