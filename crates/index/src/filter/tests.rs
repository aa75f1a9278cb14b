use std::cmp::Ordering;

use super::*;

/// Numbers where keys could go wrong.
const INTEGERS: [i64; 13] = [
    i64::MIN,
    i64::MIN + 1,
    -5_000_000_000,
    -1,
    0,
    1,
    7,
    100,
    2_147_483_647,
    5_000_000_000,
    i64::MAX - 2,
    i64::MAX - 1,
    i64::MAX,
];

const FLOATS: [f64; 12] = [
    f64::NEG_INFINITY,
    f64::MIN,
    -1.5,
    -f64::MIN_POSITIVE,
    -5e-324,
    -0.0,
    0.0,
    5e-324,
    1.5,
    f64::MAX,
    f64::INFINITY,
    f64::NAN,
];

const COMPARISONS: [Operator; 5] =
    [Operator::Less, Operator::LessEqual, Operator::Equal, Operator::GreaterEqual, Operator::Greater];

fn holds(operator: Operator, ordering: Ordering) -> bool {
    match operator {
        Operator::Less => ordering.is_lt(),
        Operator::LessEqual => ordering.is_le(),
        Operator::Equal => ordering.is_eq(),
        Operator::GreaterEqual => ordering.is_ge(),
        Operator::Greater => ordering.is_gt(),
        _ => false,
    }
}

/// Compares as PostgreSQL does.
fn order_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Every operator over all pairs: what holds matches; what does not, only where the executor looks again.
fn check<T: Copy + std::fmt::Debug>(
    values: &[T],
    kind: Kind,
    key: impl Fn(T) -> u64,
    order: impl Fn(T, T) -> Ordering,
) {
    let mut sharp = 0;
    for &constant in values {
        for operator in COMPARISONS {
            let mut program = Program::new();
            program.add(0, kind, operator, Some(key(constant))).unwrap();
            for &value in values {
                let matches = program.matches(&key(value).to_ne_bytes());
                let holds = holds(operator, order(value, constant));
                assert!(matches || !holds, "{value:?} {operator:?} {constant:?}");
                assert!(!matches || holds || program.needs_recheck(), "{value:?} {operator:?} {constant:?}");
                sharp += usize::from(!program.needs_recheck());
            }
            assert!(!program.matches(&NULL.to_ne_bytes()));
        }
    }
    // all but the two largest constants need no second look
    let most = values.len() * COMPARISONS.len() * values.iter().filter(|&&v| key(v) < LAST).count();
    assert_eq!(sharp, if kind == Kind::Exact { most } else { 0 });
}

#[test]
fn integers_compare_by_their_keys() {
    check(&INTEGERS, Kind::Exact, of_integer, |a, b| a.cmp(&b));
    assert!(INTEGERS.iter().all(|&x| of_integer(x) != NULL));
    assert_eq!(of_integer(i64::MAX), of_integer(i64::MAX - 1));
}

#[test]
fn floats_compare_by_their_keys() {
    check(&FLOATS, Kind::Exact, of_float, order_floats);
    assert_eq!(of_float(-0.0), of_float(0.0));
    assert_eq!(of_float(f64::NAN), of_float(-f64::NAN));
    assert!(of_float(f64::NAN) < LAST);
}

#[test]
fn rounded_keys_lose_no_row() {
    // a key for several numbers, in their order
    check(&INTEGERS, Kind::Rounded, |x| of_float(x as f64), |a, b| a.cmp(&b));
}

#[test]
fn hashes_say_what_is_not_equal() {
    let mut program = Program::new();
    program.add(0, Kind::Hash, Operator::Equal, Some(of_hash(u64::MAX))).unwrap();
    assert!(program.needs_recheck());
    assert!(
        program.matches(&of_hash(u64::MAX).to_ne_bytes()) && program.matches(&of_hash(LAST).to_ne_bytes())
    );
    assert!(!program.matches(&of_hash(1).to_ne_bytes()) && !program.matches(&NULL.to_ne_bytes()));
    // of the order they say nothing: all values are candidates
    for operator in [Operator::Less, Operator::GreaterEqual, Operator::Contains] {
        let mut program = Program::new();
        program.add(0, Kind::Hash, operator, Some(of_hash(5))).unwrap();
        assert!(program.needs_recheck());
        assert!(program.matches(&of_hash(1).to_ne_bytes()) && !program.matches(&NULL.to_ne_bytes()));
    }
}

#[test]
fn arrays_have_their_elements_and_perhaps_others() {
    let key = |elements: &[u64]| elements.iter().fold(0, |key, &hash| key | element_bit(hash));
    let sets: [&[u64]; 6] = [&[], &[1], &[2], &[1, 2], &[1, 2, 3, 62], &[63, 64]];
    for constant in sets {
        for operator in [Operator::Overlaps, Operator::Contains, Operator::Equal] {
            let mut program = Program::new();
            program.add(0, Kind::Elements, operator, Some(key(constant))).unwrap();
            assert!(program.needs_recheck());
            for set in sets {
                let holds = match operator {
                    Operator::Overlaps => constant.iter().any(|x| set.contains(x)),
                    Operator::Contains => constant.iter().all(|x| set.contains(x)),
                    _ => set == constant,
                };
                let matches = program.matches(&key(set).to_ne_bytes());
                assert!(matches || !holds, "{set:?} {operator:?} {constant:?}");
            }
            assert!(!program.matches(&NULL.to_ne_bytes()));
            let unknown = program.matches(&ANY_ELEMENTS.to_ne_bytes());
            assert!(unknown || operator == Operator::Overlaps && constant.is_empty());
        }
    }
    let mut program = Program::new();
    program.add(0, Kind::Elements, Operator::Overlaps, Some(key(&[1, 2]))).unwrap();
    assert!(program.matches(&key(&[2, 9]).to_ne_bytes()) && !program.matches(&key(&[9]).to_ne_bytes()));
}

#[test]
fn nulls_are_told_from_all_values() {
    let mut null = Program::new();
    null.add_null(0, true).unwrap();
    let mut value = Program::new();
    value.add_null(0, false).unwrap();
    for key in INTEGERS.iter().map(|&x| of_integer(x)).chain(FLOATS.map(of_float)).chain([ANY_ELEMENTS, LAST])
    {
        assert!(!null.matches(&key.to_ne_bytes()) && value.matches(&key.to_ne_bytes()));
    }
    assert!(null.matches(&NULL.to_ne_bytes()) && !value.matches(&NULL.to_ne_bytes()));
    assert!(!null.needs_recheck() && !value.needs_recheck());
    // nothing compares with NULL
    let mut never = Program::new();
    never.add(0, Kind::Exact, Operator::Equal, None).unwrap();
    assert!(!never.matches(&NULL.to_ne_bytes()) && !never.matches(&of_integer(0).to_ne_bytes()));
}

#[test]
fn any_of_several_constants() {
    for count in [0usize, 1, 2, 5, 8, 9, 40] {
        let constants: Vec<i64> = (0..count as i64).map(|n| (n * 37) % 50 - 20).collect();
        for operator in COMPARISONS {
            let mut program = Program::new();
            let mut keys: Vec<u64> = constants.iter().map(|&x| of_integer(x)).collect();
            // named twice
            keys.extend(keys.first().copied());
            program.add_any(0, Kind::Exact, operator, &mut keys).unwrap();
            assert!(!program.needs_recheck());
            for value in -25..35 {
                let holds = constants.iter().any(|c| holds(operator, value.cmp(c)));
                assert_eq!(program.matches(&of_integer(value).to_ne_bytes()), holds, "{value} {operator:?}");
            }
            assert!(!program.matches(&NULL.to_ne_bytes()));
        }
    }
    // arrays with one of several elements
    let mut program = Program::new();
    let mut keys = [element_bit(3), element_bit(5)];
    program.add_any(0, Kind::Elements, Operator::Overlaps, &mut keys).unwrap();
    assert!(
        program.matches(&element_bit(5).to_ne_bytes()) && !program.matches(&element_bit(4).to_ne_bytes())
    );
    // equal to one of several arrays: any that has elements, or none, is a candidate
    let mut program = Program::new();
    program.add_any(0, Kind::Elements, Operator::Equal, &mut keys).unwrap();
    assert!(program.needs_recheck() && program.matches(&element_bit(4).to_ne_bytes()));
}

#[test]
fn all_conditions_hold_in_rows_of_several_columns() {
    let mut program = Program::new();
    assert!(program.is_empty() && program.matches(&[]));
    program.add_never().unwrap();
    assert!(
        !program.matches(&[]) && !program.matches(&NULL.to_ne_bytes()) && !program.matches(&[0; KEY_SIZE])
    );
    program.clear();
    program.recheck_all();
    assert!(program.is_empty() && program.needs_recheck());
    program.clear();
    program.add(0, Kind::Exact, Operator::Equal, Some(of_integer(7))).unwrap();
    program.add(2, Kind::Exact, Operator::Less, Some(of_float(100.0))).unwrap();
    program.add_null(1, true).unwrap();
    assert!(program.add_null(MAX_COLUMNS, true).is_err());
    let rows = [
        [of_integer(7), NULL, of_float(99.5)],
        [of_integer(7), NULL, of_float(100.0)],
        [of_integer(8), NULL, of_float(1.0)],
        [of_integer(7), of_hash(3), of_float(1.0)],
        [of_integer(7), NULL, NULL],
    ];
    let keys: Vec<u8> = rows.iter().flatten().flat_map(|key| key.to_ne_bytes()).collect();
    let mut matches = [false; 5];
    program.select(&keys, 3 * KEY_SIZE, &mut matches);
    assert_eq!(matches, [true, false, false, false, false]);
    program.clear();
    assert!(program.is_empty() && !program.needs_recheck() && program.allocated() > 0);
    program.select(&keys, 3 * KEY_SIZE, &mut matches);
    assert_eq!(matches, [true; 5]);
}

#[test]
fn items_are_values_with_their_keys() {
    let mut item = ValueBuf::new();
    for len in [8usize, 20, 21] {
        let value: Vec<u8> = (0..len as u8).collect();
        put_item(&value, &[1, u64::MAX], &mut item).unwrap();
        let (first, keys) = item.bytes().split_at(len);
        assert_eq!(first, value);
        assert_eq!(keys, [1u64.to_ne_bytes(), [255; 8]].concat());
    }
}
