//! Properties of the text, wire and stored forms, against plain oracles.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use core::cmp::Ordering;

use half::f16;
use proptest::prelude::*;
use vector_index::text::*;
use vector_index::value::*;
use vector_index::wire::*;
use vector_index::{Kind, TextError, TypeName, ValueError};
use zerocopy::IntoBytes;

fn cases() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 512 },
        failure_persistence: None,
        ..Default::default()
    }
}

/// A stored value in memory aligned as PostgreSQL aligns it.
struct Stored {
    words: Vec<u64>,
    len: usize,
}

impl Stored {
    fn zeroed(len: usize) -> Self {
        Stored { words: vec![0; len.div_ceil(8)], len }
    }
    fn bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..self.len]
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..self.len]
    }
}

fn stored_dense<T: DenseElement>(elements: &[T]) -> Stored {
    let mut stored = Stored::zeroed(DenseView::<T>::size(elements.len()));
    DenseView::<T>::init(stored.bytes_mut()).unwrap().copy_from_slice(elements);
    stored
}

fn stored_sparse(dims: i32, elements: &[(i32, f32)]) -> Stored {
    let mut stored = Stored::zeroed(sparsevec_size(elements.len()));
    let (indices, values) = sparsevec_parts_mut(stored.bytes_mut(), dims).unwrap();
    for (k, &(i, v)) in elements.iter().enumerate() {
        (indices[k], values[k]) = (i, v);
    }
    stored
}

fn parse_vector(text: &str) -> Result<Vec<f32>, TextError> {
    let mut out = vec![0.0; dense_capacity(text.as_bytes())];
    let dims = parse_dense(text.as_bytes(), &mut out)?;
    out.truncate(dims);
    Ok(out)
}

fn finite() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |x| x.is_finite())
}

fn sparse() -> impl Strategy<Value = (i32, Vec<(i32, f32)>)> {
    (proptest::collection::btree_map(0..60i32, -2i8..=2, 0..12), 60..64i32).prop_map(|(map, dims)| {
        (dims, map.into_iter().filter(|&(_, v)| v != 0).map(|(i, v)| (i, f32::from(v))).collect())
    })
}

/// Few numbers, so that equal ones meet: of both signs, zeros, subnormal and the largest.
fn half_element() -> impl Strategy<Value = f16> {
    prop::sample::select(vec![0x0000u16, 0x8000, 0x3c00, 0xbc00, 0x0001, 0x8001, 0x7bff, 0xfbff, 0x4000])
        .prop_map(f16::from_bits)
}

proptest! {
    #![proptest_config(cases())]

    /// Halves, equal stretches of any length and zeros of both signs compare as the same numbers in single precision.
    #[test]
    fn dense_vectors_compare_as_numbers(
        same in 0usize..140,
        a in prop::collection::vec(half_element(), 1..6),
        b in prop::collection::vec(half_element(), 1..6),
    ) {
        let start: Vec<f16> = (0..same).map(|i| f16::from_f32(i as f32)).collect();
        let (a, b) = ([&start[..], &a].concat(), [&start[..], &b].concat());
        let single = |halves: &[f16]| halves.iter().map(|h| h.to_f32()).collect::<Vec<f32>>();
        let (x, y) = (single(&a), single(&b));
        let number = x.iter().zip(&y).find_map(|(x, y)| x.partial_cmp(y).filter(|order| order.is_ne()));
        let expected = number.unwrap_or(x.len().cmp(&y.len()));
        let (sa, sb, sx, sy) = (stored_dense(&a), stored_dense(&b), stored_dense(&x), stored_dense(&y));
        let view = |stored: &Stored, other: &Stored| {
            HalfvecView::new(stored.bytes()).unwrap().compare(&HalfvecView::new(other.bytes()).unwrap())
        };
        prop_assert_eq!(view(&sa, &sb), expected);
        let view = VectorView::new(sx.bytes()).unwrap().compare(&VectorView::new(sy.bytes()).unwrap());
        prop_assert_eq!(view, expected);
    }

    #[test]
    fn vector_text_round_trip(elements in proptest::collection::vec(finite(), 1..40)) {
        let mut text = vec![0; dense_text_size(elements.len())];
        let len = print_dense(&elements, &mut text);
        let text = core::str::from_utf8(&text[..len]).unwrap();
        let again = parse_vector(text).unwrap();
        prop_assert_eq!(again.as_bytes(), elements.as_bytes());
        // white space is allowed wherever a token ends
        let spaced = text.replace(',', " ,\t").replace('[', " [\n").replace(']', "\r] ");
        prop_assert_eq!(parse_vector(&spaced).unwrap(), elements);
    }

    #[test]
    fn number_prefix_agrees_with_std(x in finite(), style in 0..4) {
        let text = match style { 0 => format!("{x}"), 1 => format!("{x:e}"), 2 => format!("+{:?}", x.abs()), _ => format!("{x:.3}") };
        let expected: f32 = text.parse().unwrap();
        for tail in ["", ",1", "]", " ", "e", "e+", "f"] {
            let number = parse_prefix(format!("{text}{tail}").as_bytes()).unwrap();
            prop_assert_eq!((number.value.to_bits(), number.len), (expected.to_bits(), text.len()));
        }
    }

    #[test]
    fn hexadecimal_agrees_with_exact_arithmetic(significand in any::<u32>(), shift in 0u32..8, power in -180i32..130) {
        let text = format!("0x{significand:x}.{}p{power}", &"0000000"[..shift as usize % 7]);
        // exact in f64: 32 bits and an exponent in range; f64 to f32 rounds once, to even
        let expected = (f64::from(significand) * 2f64.powi(power)) as f32;
        let number = parse_prefix(text.as_bytes()).unwrap();
        prop_assert_eq!(number.value, expected);
        prop_assert_eq!(number.len, text.len());
        prop_assert_eq!(number.overflow, expected.is_infinite());
        prop_assert_eq!(number.underflow, expected == 0.0 && significand != 0);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[\\[\\]{}:/,0-9.e+xXnNaAiIfF \\t-]{0,40}") {
        let bytes = text.as_bytes();
        if let Err(e) = parse_vector(&text) {
            prop_assert!(!e.message(bytes, |text| text).is_empty());
        }
        if let Ok(s) = parse_sparse(bytes, -1) {
            prop_assert!(s.elements.is_sorted_by(|a, b| a.0 < b.0));
            prop_assert!(s.elements.iter().all(|&(i, v)| i >= 0 && i < s.dims && v != 0.0));
        }
    }

    #[test]
    fn sparse_round_trips((dims, elements) in sparse()) {
        let stored = stored_sparse(dims, &elements);
        let view = SparseView::new(stored.bytes()).unwrap();
        let mut text = vec![0; sparse_text_size(elements.len())];
        let len = print_sparse(&view, &mut text);
        let parsed = parse_sparse(&text[..len], dims).unwrap();
        prop_assert_eq!(&parsed, &SparseText { dims, elements: elements.clone() });

        let mut message = vec![0; sparse_message_size(elements.len())];
        write_sparse(dims, view.indices(), view.values(), &mut message);
        let mut reader = Reader::new(&message);
        let (d, nnz) = read_sparse_header(&mut reader, -1).unwrap();
        let (mut indices, mut values) = (vec![0; nnz], vec![0.0; nnz]);
        read_sparse_elements(&mut reader, d, &mut indices, &mut values).unwrap();
        prop_assert_eq!((d, indices.as_slice(), values.as_slice()), (dims, view.indices(), view.values()));
        // cut anywhere, it is an error and never a panic
        for cut in 0..message.len() {
            let mut reader = Reader::new(&message[..cut]);
            let result = read_sparse_header(&mut reader, -1)
                .and_then(|(d, _)| read_sparse_elements(&mut reader, d, &mut indices, &mut values));
            prop_assert_eq!(result, Err(ValueError::Truncated));
        }
    }

    #[test]
    fn dense_wire_round_trip(elements in proptest::collection::vec(finite(), 1..20)) {
        let mut message = vec![0; dense_message_size::<f32>(elements.len())];
        write_dense(&elements, &mut message);
        let mut reader = Reader::new(&message);
        let dims = read_dense_header::<f32>(&mut reader, -1).unwrap();
        let mut again = vec![0.0; dims];
        read_dense_elements(&mut reader, &mut again).unwrap();
        prop_assert_eq!(reader.consumed(), message.len());
        prop_assert_eq!(again.as_bytes(), elements.as_bytes());
    }

    /// The order of sparse vectors is that of the dense ones they stand for.
    #[test]
    fn sparse_order_is_dense_order((da, a) in sparse(), (db, b) in sparse()) {
        let dense = |dims: i32, elements: &[(i32, f32)]| {
            let mut v = vec![0f32; dims as usize];
            elements.iter().for_each(|&(i, x)| v[i as usize] = x);
            stored_dense(&v)
        };
        let (sa, sb) = (stored_sparse(da, &a), stored_sparse(db, &b));
        let (va, vb) = (dense(da, &a), dense(db, &b));
        let sparse = SparseView::new(sa.bytes()).unwrap().compare(&SparseView::new(sb.bytes()).unwrap());
        let dense = VectorView::new(va.bytes()).unwrap().compare(&VectorView::new(vb.bytes()).unwrap());
        prop_assert_eq!(sparse, dense);
    }

    #[test]
    fn subvector_agrees_with_filtering(dims in 1..50i32, start in -60..60i32, count in -3..60i32) {
        let expected: Vec<i32> = (1..=dims).filter(|i| *i >= start && i64::from(*i) < i64::from(start) + i64::from(count)).collect();
        match subvector_range(TypeName::Vector, dims, start, count) {
            Ok(range) => prop_assert_eq!(range.map(|i| i as i32 + 1).collect::<Vec<_>>(), expected),
            Err(e) => { prop_assert_eq!(e, ValueError::TooFewDims(TypeName::Vector)); prop_assert!(expected.is_empty()); }
        }
    }

    #[test]
    fn damaged_values_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut stored = Stored::zeroed(bytes.len());
        stored.bytes_mut().copy_from_slice(&bytes);
        if let Ok(v) = VectorView::new(stored.bytes()) {
            prop_assert_eq!(bytes.len(), 8 + 4 * v.elements().len());
        }
        if let Ok(v) = HalfvecView::new(stored.bytes()) {
            prop_assert_eq!(bytes.len(), 8 + 2 * v.elements().len());
        }
        if let Ok(v) = SparseView::new(stored.bytes()) {
            prop_assert_eq!(bytes.len(), 16 + 8 * v.values().len());
        }
    }
}

#[test]
fn subvector_at_the_ends_of_i32() {
    let range = |start, count| subvector_range(TypeName::Vector, 5, start, count);
    assert_eq!(range(1, i32::MAX), Ok(0..5));
    assert_eq!(range(i32::MIN, i32::MAX), Err(ValueError::TooFewDims(TypeName::Vector)));
    assert_eq!(range(i32::MAX, i32::MAX), Err(ValueError::TooFewDims(TypeName::Vector)));
    assert_eq!(range(i32::MIN, i32::MIN), Err(ValueError::TooFewDims(TypeName::Vector)));
    assert_eq!(range(5, 1), Ok(4..5));
    assert_eq!(range(6, 1), Err(ValueError::TooFewDims(TypeName::Vector)));
}

fn message(result: Result<Vec<f32>, TextError>, text: &str) -> (Kind, String, Option<&'static str>) {
    let e = result.unwrap_err();
    (e.kind(), String::from_utf8(e.message(text.as_bytes(), |text| text)).unwrap(), e.detail())
}

#[test]
fn text_errors_say_what_pgvector_says() {
    for (text, kind, expected, detail) in [
        (
            "1",
            Kind::InvalidText,
            "invalid input syntax for type vector: \"1\"",
            Some("Vector contents must start with \"[\"."),
        ),
        (
            "[1]x",
            Kind::InvalidText,
            "invalid input syntax for type vector: \"[1]x\"",
            Some("Junk after closing right brace."),
        ),
        ("[1,]", Kind::InvalidText, "invalid input syntax for type vector: \"[1,]\"", None),
        ("[1", Kind::InvalidText, "invalid input syntax for type vector: \"[1\"", None),
        ("[", Kind::InvalidText, "invalid input syntax for type vector: \"[\"", None),
        ("[]", Kind::DataException, "vector must have at least 1 dimension", None),
        ("[nan]", Kind::DataException, "NaN not allowed in vector", None),
        ("[-inf]", Kind::DataException, "infinite value not allowed in vector", None),
        ("[1,-4e38 ]", Kind::OutOfRange, "\"-4e38\" is out of range for type vector", None),
    ] {
        assert_eq!(message(parse_vector(text), text), (kind, expected.to_owned(), detail), "{text}");
    }
    let mut half = [f16::ZERO];
    let e = parse_dense(b"[65520]", &mut half).unwrap_err();
    assert_eq!(e.message(b"[65520]", |text| text), b"\"65520\" is out of range for type halfvec");
    // a front that ends before the text
    assert_eq!(e.message(b"[65520]", |text| &text[..2]), b"\"65...\" is out of range for type halfvec");
    assert_eq!(parse_dense(b"[65519]", &mut half), Ok(1));
    assert_eq!(half[0], f16::MAX);
}

#[test]
fn more_dimensions_than_allowed() {
    let text = |n: usize| format!("[{}]", vec!["1"; n].join(","));
    assert_eq!(parse_vector(&text(16_000)).unwrap().len(), 16_000);
    assert_eq!(parse_vector(&text(16_001)), Err(ValueError::TooManyDims(TypeName::Vector).into()));
}

#[test]
fn sparse_text_errors() {
    for (text, expected) in [
        ("{1:1,1:2}/3", ValueError::IndexDuplicate),
        ("{0:1}/3", ValueError::IndexOutOfBounds),
        ("{4:1}/3", ValueError::IndexOutOfBounds),
        ("{99999999999999999999:1}/3", ValueError::IndexOutOfBounds),
        ("{-99999999999999999999:1}/3", ValueError::IndexOutOfBounds),
        ("{}/0", ValueError::TooFewDims(TypeName::Sparsevec)),
        ("{}/-1", ValueError::TooFewDims(TypeName::Sparsevec)),
        ("{}/1000000001", ValueError::TooManyDims(TypeName::Sparsevec)),
    ] {
        assert_eq!(parse_sparse(text.as_bytes(), -1), Err(expected.into()), "{text}");
    }
    assert_eq!(
        parse_sparse(b"{3:1.5,1:2,9:0}/5", -1),
        Ok(SparseText { dims: 5, elements: vec![(0, 2.0), (2, 1.5)] })
    );
    let underflow = parse_sparse(b"{1:1e-50}/5", -1).unwrap_err();
    assert_eq!(
        underflow.message(b"{1:1e-50}/5", |text| text),
        b"\"1e-50\" is out of range for type sparsevec"
    );
}

#[test]
fn stored_layout_is_pgvectors() {
    let stored = stored_dense(&[1.0f32, -2.0]);
    let expected: Vec<u8> =
        [&[0; 4][..], &2i16.to_ne_bytes(), &[0; 2], &1f32.to_ne_bytes(), &(-2f32).to_ne_bytes()].concat();
    assert_eq!(stored.bytes(), expected);
    let half = stored_dense(&[f16::from_f32(1.0)]);
    assert_eq!(half.bytes(), [&[0; 4][..], &1i16.to_ne_bytes(), &[0; 2], &0x3c00u16.to_ne_bytes()].concat());
    let sparse = stored_sparse(7, &[(3, 1.0)]);
    let words = [0, 7, 1, 0, 3, 1f32.to_bits() as i32];
    assert_eq!(sparse.bytes(), words.map(i32::to_ne_bytes).concat());
}

#[test]
fn order_of_dense_vectors() {
    let order = |a: &[f32], b: &[f32]| {
        let (a, b) = (stored_dense(a), stored_dense(b));
        VectorView::new(a.bytes()).unwrap().compare(&VectorView::new(b.bytes()).unwrap())
    };
    assert_eq!(order(&[1.0, 2.0], &[1.0, 3.0]), Ordering::Less);
    assert_eq!(order(&[1.0, 2.0], &[1.0]), Ordering::Greater);
    assert_eq!(order(&[0.0], &[-0.0]), Ordering::Equal);
    assert_eq!(order(&[2.0], &[1.0, 9.0]), Ordering::Greater);
}
