use super::*;

const MACHINE: Machine = Machine {
    distance: 0.1e-6,
    shared_buffers: 1 << 30,
    maintenance_memory: 64 << 20,
    threads: 2,
    memory: 1 << 40,
    automatic: false,
};

fn column(rows: f64, dims: u32) -> Column {
    Column {
        kind: ValueKind::Vector,
        dims: Some(dims),
        declared: true,
        rows: Some(rows),
        filled: true,
        scans: 7,
        indexed: false,
        queries: None,
    }
}

fn actions(found: &[Advice]) -> Vec<&'static str> {
    found.iter().map(|advice| advice.action).collect()
}

#[test]
fn sizes_follow_the_pages() {
    // two of 940 dimensions share a page with m = 16, and larger ones take a page each, as docs/operate.md says
    assert_eq!(hnsw_size(1000.0, value_size(ValueKind::Vector, 940), 16), 501 * 8192);
    assert_eq!(hnsw_size(1000.0, value_size(ValueKind::Vector, 960), 16), 1001 * 8192);
    // a value that leaves no place for its neighbours: they share pages
    assert_eq!(hnsw_size(1000.0, value_size(ValueKind::Vector, 2000), 16), 8192 * 1028);
    assert_eq!(ivfflat_size(1000.0, value_size(ValueKind::Halfvec, 100), 10), (28 + 10) * 8192);
    assert_eq!(value_size(ValueKind::Bit, 9), 10);
}

#[test]
fn small_tables_need_no_index_and_large_ones_do() {
    let found = advise_column(&column(5_000.0, 384), &MACHINE);
    assert_eq!(actions(&found), ["no_index_needed"]);
    assert!(found[0].expected.latency.unwrap() < FAST_ENOUGH && found[0].statement == Statement::None);

    let found = advise_column(&column(100_000.0, 384), &MACHINE);
    assert_eq!(actions(&found), ["raise_maintenance_work_mem", "create_index"]);
    assert_eq!(found[1].statement, Statement::CreateIndex(Key::Column, Order::Cosine));
    let expected = found[1].expected;
    assert!(expected.latency.unwrap() < 0.01 && expected.build.unwrap() > 1.0);
    assert!(expected.size.unwrap() > 100_000 * 1544 && expected.memory > expected.size);
    assert!(found[1].why.contains("assumed"), "{}", found[1].why);

    let seen = Column { queries: Some((Order::L2, 40, 0.2)), ..column(100_000.0, 384) };
    let found = advise_column(&seen, &MACHINE);
    assert_eq!(found[1].statement, Statement::CreateIndex(Key::Column, Order::L2));
    assert!(found[1].why.contains("40 calls ordered by <->") && !found[1].why.contains("assumed"));
}

#[test]
fn graphs_that_a_machine_cannot_build_give_way_to_lists() {
    let small = Machine { memory: 4 << 30, ..MACHINE };
    let found = advise_column(&column(5e6, 384), &small);
    assert_eq!(actions(&found), ["use_ivfflat"]);
    let Advice { statement, expected, why, .. } = &found[0];
    // larger than shared_buffers: halfvecs
    assert_eq!(*statement, Statement::CreateLists(Key::Halfvec(384), Order::Cosine, 2236));
    assert!(why.contains("and the machine has 4096 MB"), "{why}");
    assert!(expected.memory.unwrap() < 1 << 30 && expected.size.unwrap() > 5_000_000 * 776, "{expected:?}");
    assert_eq!(advise_column(&column(5e6, 384), &MACHINE).pop().unwrap().action, "use_halfvec");
    // a build of days
    let found = advise_column(&column(4e9, 384), &Machine { memory: u64::MAX, ..MACHINE });
    assert!(actions(&found) == ["use_ivfflat"] && found[0].why.contains("hours"), "{found:?}");
    // for which ivfflat has no operator class
    let taxicab = Column { queries: Some((Order::L1, 1, 1.0)), ..column(5e6, 384) };
    assert_eq!(actions(&advise_column(&taxicab, &small)).last(), Some(&"use_halfvec"));
}

#[test]
fn damaged_indexes_are_to_be_rebuilt() {
    let facts = Index { size: 7 << 20, ..INDEX };
    let advice = advise_damaged(&facts, "invalid record at block 3, offset 1");
    assert_eq!((advice.action, advice.statement), ("reindex", Statement::Reindex));
    assert!(advice.why.contains("invalid record at block 3, offset 1"));
}

#[test]
fn what_an_index_cannot_hold_is_made_smaller() {
    let create = |dims| advise_column(&column(50_000.0, dims), &MACHINE).pop().unwrap();
    assert_eq!(create(3072).statement, Statement::CreateIndex(Key::Halfvec(3072), Order::Cosine));
    assert_eq!(create(3072).action, "use_halfvec");
    assert_eq!(create(5000).statement, Statement::CreateIndex(Key::Binary(5000), Order::Hamming));
    // larger than shared_buffers, which half the bytes of three dimensions would not change
    assert_eq!(advise_column(&column(1e8, 3), &MACHINE).pop().unwrap().action, "create_index");
    let found = advise_column(&column(1e6, 768), &MACHINE).pop().unwrap();
    assert_eq!(found.statement, Statement::CreateIndex(Key::Halfvec(768), Order::Cosine));
    assert!(found.expected.size.unwrap() < hnsw_size(1e6, value_size(ValueKind::Vector, 768), 16));
}

#[test]
fn what_is_not_known_is_asked_for() {
    let unknown = Column { rows: None, ..column(0.0, 3) };
    assert_eq!(advise_column(&unknown, &MACHINE)[0].statement, Statement::Analyze);
    let empty = Column { filled: false, ..unknown };
    assert_eq!(advise_column(&empty, &MACHINE)[0].statement, Statement::None);
    let loose = Column { declared: false, ..column(1e6, 384) };
    assert_eq!(actions(&advise_column(&loose, &MACHINE)), ["declare_dimensions"]);
    assert!(advise_column(&Column { indexed: true, ..column(1e6, 384) }, &MACHINE).is_empty());
    assert_eq!(actions(&advise_column(&Column { dims: None, ..column(1e6, 0) }, &MACHINE)), ["none"]);
}

const INDEX: Index = Index {
    graph: true,
    valid: true,
    size: 100 << 20,
    scans: 5,
    table_scans: 5,
    rows: 100_000.0,
    dead_rows: 0.0,
    counted: Some(Counted::Graph(100_000, 0, 0, 16)),
    recall: Some(0.97),
    enough: None,
};

/// Where indexes are built on the pages that suit them: more dimensions, more bytes, and other words.
#[test]
fn own_pages_take_more_dimensions_and_bytes() {
    let machine = Machine { automatic: true, shared_buffers: 64 << 30, ..MACHINE };
    for dims in [384, 3072, 16_000] {
        let [own, first] = [machine, MACHINE]
            .map(|machine| advise_column(&column(100_000.0, dims), &machine).pop().unwrap());
        assert_eq!(
            (own.action, own.statement),
            ("create_index", Statement::CreateIndex(Key::Column, Order::Cosine))
        );
        assert_eq!(first.action == "create_index", dims == 384);
        let size = own.expected.size.unwrap() as f64 / (100_000.0 * f64::from(8 + 4 * dims));
        assert!((1.0..4.0).contains(&size), "{dims}: {size}");
    }
    let sizes = [machine, MACHINE].map(|machine| {
        advise_column(&column(100_000.0, 384), &machine).pop().unwrap().expected.size.unwrap()
    });
    assert!(sizes[0] > sizes[1] * 3 / 2 && sizes[0] < sizes[1] * 5 / 2, "{sizes:?}");
    let found = advise_column(&column(100_000.0, 384), &machine);
    assert!(found[0].why.ends_with("built in parts, from temporary files"), "{}", found[0].why);
    // taxicab distance has no other pages
    let taxicab = Column { queries: Some((Order::L1, 40, 0.2)), ..column(100_000.0, 3072) };
    assert_eq!(advise_column(&taxicab, &machine).pop().unwrap().action, "use_halfvec");
}

#[test]
fn sound_indexes_are_left_alone() {
    assert_eq!(actions(&advise_index(&INDEX, &MACHINE)), ["none"]);
    let unmeasured = Index { counted: None, recall: None, ..INDEX };
    assert_eq!(actions(&advise_index(&unmeasured, &MACHINE)), ["none"]);
}

#[test]
fn each_fault_of_an_index_has_its_advice() {
    let cases = [
        (Index { valid: false, ..INDEX }, "reindex", Statement::Reindex),
        (Index { dead_rows: 30_000.0, ..INDEX }, "vacuum", Statement::Vacuum),
        (Index { counted: Some(Counted::Graph(1000, 300, 0, 16)), ..INDEX }, "vacuum", Statement::Vacuum),
        (Index { counted: Some(Counted::Graph(1000, 0, 2000, 16)), ..INDEX }, "reindex", Statement::Reindex),
        (Index { recall: Some(0.8), enough: Some(90), ..INDEX }, "raise_ef_search", Statement::EfSearch(90)),
        (Index { recall: Some(0.8), ..INDEX }, "raise_m", Statement::SetM(32)),
        (Index { scans: 0, table_scans: 500, ..INDEX }, "check_queries", Statement::None),
        (Index { size: 2 << 30, ..INDEX }, "more_memory", Statement::None),
    ];
    for (index, action, statement) in cases {
        let found = advise_index(&index, &MACHINE);
        assert_eq!(actions(&found), [action]);
        assert_eq!(found[0].statement, statement);
    }
    let lists = Index { graph: false, recall: None, ..INDEX };
    let cases = [
        (Counted::Lists(100_000, 100, 1.3, 100, false), "none", Statement::None),
        (Counted::Lists(1_000_000, 100, 1.3, 1000, false), "change_lists", Statement::SetLists(1000)),
        (Counted::Lists(1_000_000, 1, 1.0, 4000, true), "change_lists", Statement::Reindex),
        (Counted::Lists(100_000, 100, 9.0, 100, false), "reindex", Statement::Reindex),
        (Counted::Lists(1_000, 100, 9.0, 20, true), "none", Statement::None),
    ];
    for (counted, action, statement) in cases {
        let found = advise_index(&Index { counted: Some(counted), ..lists }, &MACHINE);
        assert_eq!((actions(&found), found[0].statement), (Vec::from([action]), statement));
    }
    let low = Index { recall: Some(0.5), enough: Some(20), ..lists };
    assert_eq!(advise_index(&low, &MACHINE)[0].statement, Statement::Probes(20));
}

#[test]
fn times_grow_with_the_work() {
    let build = |rows, m, threads| build_seconds(rows, m, 64, &Machine { threads, ..MACHINE });
    assert_eq!(build(1e5, 16, 1), 4.0 * build(1e5, 16, 4));
    assert_eq!(build(1e4, 32, 1), 2.0 * build(1e4, 16, 1));
    // more than ten times as long for ten times the rows, as the graph is deeper
    assert!(build(1e7, 16, 1) > 10.5 * build(1e6, 16, 1) && build(1e7, 16, 1) < 13.0 * build(1e6, 16, 1));
    let search = |rows, value, ef| search_seconds(rows, value, ef, 16, &MACHINE);
    assert_eq!(search(1e6, 1544, 80), 2.0 * search(1e6, 1544, 40));
    assert!(search(1e6, 3080, 40) > search(1e6, 1544, 40));
    // no more distances than rows
    assert!(search(10.0, 1544, 40) < 1e-5);
    // a value stored out of line is fetched
    assert!(exact_seconds(1000.0, 3080, &MACHINE) > 2.0 * exact_seconds(1000.0, 1544, &MACHINE));
}
