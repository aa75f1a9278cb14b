//! What only a backend can show; everything else is tested in the pure crates or through SQL in tests/regress.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[pgrx::pg_schema]
mod tests {
    use core::ffi::CStr;

    use half::f16;
    use pgrx::pg_sys::{self, Datum};
    use pgrx::prelude::*;
    use vector_index::text;

    use crate::pg::{guard, server};

    /// A small generator with a fixed seed, so that a failure can be repeated.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    fn float4out(value: f32) -> String {
        // SAFETY: float4out takes one float4 and returns a cstring.
        unsafe {
            let text = pg_sys::OidFunctionCall1Coll(
                pg_sys::Oid::from(pg_sys::F_FLOAT4OUT),
                pg_sys::InvalidOid,
                Datum::from(value.to_bits()),
            );
            let owned = CStr::from_ptr(text.cast_mut_ptr()).to_str().unwrap().to_owned();
            pg_sys::pfree(text.cast_mut_ptr());
            owned
        }
    }

    fn print(value: f32) -> String {
        text::f32_to_string(value)
    }

    #[pg_test]
    fn floats_print_as_float4out_prints_them() {
        let mut random = Random(1);
        for _ in 0..30_000 {
            let value = f32::from_bits(random.next() as u32);
            assert_eq!(print(value), float4out(value), "{:#x}", value.to_bits());
        }
        // where decimals halfway between two floats are short
        for _ in 0..30_000 {
            let value = f32::from_bits(0x4b80_0000 + (random.next() % 0x1400_0000) as u32);
            assert_eq!(print(value), float4out(value), "{:#x}", value.to_bits());
        }
        for exponent in 0..=254u32 {
            for offset in [-2i32, -1, 0, 1, 2] {
                let value = f32::from_bits((exponent << 23).wrapping_add_signed(offset));
                assert_eq!(print(value), float4out(value), "{:#x}", value.to_bits());
            }
        }
        for digits in (1..10_000u32).step_by(97) {
            for power in -45..=38 {
                let value: f32 = format!("{digits}e{power}").parse().unwrap();
                assert_eq!(print(value), float4out(value), "{:#x}", value.to_bits());
            }
        }
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits).to_f32();
            assert_eq!(print(value), float4out(value), "half {bits:#x}");
        }
    }

    unsafe extern "C-unwind" {
        // the C library's, which pgvector reads numbers with
        fn strtof(text: *const core::ffi::c_char, end: *mut *mut core::ffi::c_char) -> f32;
    }

    fn check_number(number: &str) {
        let c = std::ffi::CString::new(number).unwrap();
        let mut end = core::ptr::null_mut();
        // SAFETY: a NUL-ended string and a place for the end.
        let (value, len) = unsafe {
            let value = strtof(c.as_ptr(), &raw mut end);
            (value, end.offset_from(c.as_ptr()) as usize)
        };
        match text::parse_prefix(number.as_bytes()) {
            None => assert_eq!(len, 0, "{number}"),
            Some(ours) => {
                // after "nan" C also takes "(…)", which no caller gets to see: NaN is an error
                if !value.is_nan() {
                    assert_eq!(ours.len, len, "{number}");
                }
                assert!(
                    ours.value.to_bits() == value.to_bits() || (ours.value.is_nan() && value.is_nan()),
                    "{number}: {:e} is not {value:e}",
                    ours.value
                );
            }
        }
    }

    #[pg_test]
    fn numbers_read_as_strtof_reads_them() {
        let mut random = Random(2);
        // made of the characters that numbers are made of
        const CHARACTERS: &[u8] = b"0123456789012345678900..eE+-xXpPaAfFnNiI, ";
        for _ in 0..20_000 {
            let len = random.next() % 14;
            let word: String =
                (0..len).map(|_| char::from(CHARACTERS[random.next() as usize % CHARACTERS.len()])).collect();
            if !word.starts_with(' ') {
                check_number(&word);
            }
        }
        for _ in 0..20_000 {
            let (digits, cut) = (random.next(), random.next() % 20);
            let power = (random.next() % 120) as i64 - 70;
            check_number(&format!("{:.*}e{power}", cut as usize, digits as f64 / 1e13));
            check_number(&format!("0x{:x}.{:x}p{power}", digits >> 40, random.next()));
        }
        // decimals halfway between two floats, and a digit above
        for _ in 0..5_000 {
            let bits = random.next() as u32 & 0x7fff_ffff;
            let (low, high) = (f32::from_bits(bits), f32::from_bits(bits + 1));
            if high.is_finite() {
                let half = (f64::from(low) + f64::from(high)) / 2.0;
                check_number(&format!("{half:.160}"));
                check_number(&format!("{half:.160}1"));
            }
        }
    }

    #[pg_test]
    fn every_function_finds_its_symbol() {
        let count = Spi::connect(|client| {
            let table = client
                .select(
                    "SELECT p.oid FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
                       JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'vector'
                       JOIN pg_language l ON l.oid = p.prolang WHERE l.lanname = 'c' AND p.probin LIKE '%vector'
                        AND p.prosrc NOT LIKE '%\\_wrapper'",
                    None,
                    &[],
                )
                .unwrap();
            let mut count = 0;
            for row in table {
                let oid: pg_sys::Oid = row.get(1).unwrap().unwrap();
                let mut info = pg_sys::FmgrInfo::default();
                // SAFETY: a function's oid and a place for its info; raises when the symbol is missing.
                unsafe { pg_sys::fmgr_info(oid, &raw mut info) };
                assert!(info.fn_addr.is_some());
                count += 1;
            }
            count
        });
        assert!(count > 100, "{count}");
    }

    /// A varlena with these bytes after its header.
    fn varlena(payload: &[u8]) -> Datum {
        // SAFETY: the allocation has room for header and payload.
        unsafe {
            let size = payload.len() + 4;
            let start: *mut u8 = pg_sys::palloc(size).cast();
            start.cast::<u32>().write((size as u32) << 2);
            core::ptr::copy_nonoverlapping(payload.as_ptr(), start.add(4), payload.len());
            Datum::from(start)
        }
    }

    fn call2(signature: &str, a: Datum, b: Datum) -> Datum {
        let oid = Spi::get_one::<pg_sys::Oid>(&format!("SELECT '{signature}'::regprocedure::oid"));
        // SAFETY: callers pass datums of the types that the signature names.
        unsafe { pg_sys::OidFunctionCall2Coll(oid.unwrap().unwrap(), pg_sys::InvalidOid, a, b) }
    }

    fn sqlstate<R>(body: impl FnOnce() -> R + std::panic::UnwindSafe + std::panic::RefUnwindSafe) -> i32 {
        PgTryBuilder::new(|| {
            let _ = body();
            0
        })
        .catch_others(|error| match error {
            pgrx::pg_sys::panic::CaughtError::PostgresError(report)
            | pgrx::pg_sys::panic::CaughtError::ErrorReport(report)
            | pgrx::pg_sys::panic::CaughtError::RustPanic { ereport: report, .. } => {
                report.sql_error_code() as i32
            }
        })
        .execute()
    }

    /// A stored value whose header lies about its length is an error, not a read past its end.
    #[pg_test]
    fn corrupted_values_are_errors() {
        let corrupted = PgSqlErrorCode::ERRCODE_DATA_CORRUPTED as i32;
        // each claims more than it holds, or holds more than it claims
        for payload in
            [&[][..], &[0, 0], &[2, 0, 0, 0, 0, 0, 128, 63], &[0, 0x7d, 0, 0], &[0, 0, 0, 0, 1, 2, 3]]
        {
            for signature in
                ["l2_distance(vector,vector)", "vector_add(vector,vector)", "vector_lt(vector,vector)"]
            {
                assert_eq!(sqlstate(|| call2(signature, varlena(payload), varlena(payload))), corrupted);
            }
        }
        for payload in
            [&[][..], &[1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0], &[9, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]]
        {
            for signature in ["l1_distance(sparsevec,sparsevec)", "sparsevec_cmp(sparsevec,sparsevec)"] {
                assert_eq!(sqlstate(|| call2(signature, varlena(payload), varlena(payload))), corrupted);
            }
        }
        assert_eq!(sqlstate(|| call2("hamming_distance(bit,bit)", varlena(&[1]), varlena(&[1]))), corrupted);
    }

    /// An index beyond a sparse vector's dimensions, as only a damaged disk can hold one.
    #[pg_test]
    fn corrupted_sparse_index_is_an_error() {
        let mut payload = vec![];
        for word in [3i32, 1, 0, 7] {
            payload.extend_from_slice(&word.to_ne_bytes());
        }
        payload.extend_from_slice(&1f32.to_ne_bytes());
        let oid = Spi::get_one::<pg_sys::Oid>(
            "SELECT 'sparsevec_to_vector(sparsevec,int,bool)'::regprocedure::oid",
        );
        let code = sqlstate(|| {
            // SAFETY: the arguments are those of the signature.
            unsafe {
                pg_sys::OidFunctionCall3Coll(
                    oid.unwrap().unwrap(),
                    pg_sys::InvalidOid,
                    varlena(&payload),
                    Datum::from(-1i32),
                    Datum::from(false),
                );
            }
        });
        assert_eq!(code, PgSqlErrorCode::ERRCODE_DATA_CORRUPTED as i32);
    }

    /// Stored short, plain, compressed and external values give the same results.
    #[pg_test]
    fn values_of_every_storage_form() {
        Spi::run("CREATE TABLE forms (storage text, dims int, v vector, h halfvec, s sparsevec)").unwrap();
        for storage in ["plain", "main", "external", "extended"] {
            for column in ["v", "h", "s"] {
                Spi::run(&format!("ALTER TABLE forms ALTER {column} SET STORAGE {storage}")).unwrap();
            }
            // short header below 31 dimensions, in line up to about 500, out of line above
            for dims in [1, 2, 29, 30, 31, 32, 400, 900] {
                if storage == "plain" && dims > 400 {
                    continue; // the row would not fit its page
                }
                Spi::run(&format!(
                    "INSERT INTO forms SELECT '{storage}', {dims}, a::vector, a::vector::halfvec, a::vector::sparsevec
                       FROM (SELECT array_agg(1 + i % 3) a FROM generate_series(1, {dims}) i) x"
                ))
                .unwrap();
            }
        }
        let wrong = Spi::get_one::<i64>(
            "SELECT count(*) FROM forms, LATERAL (SELECT sum(i * i) AS norm2 FROM unnest(v::real[]) i) n
              WHERE v <-> (v + v) <> sqrt(norm2) OR h <-> (h + h) <> sqrt(norm2) OR (s <-> s) <> 0
                 OR v <#> v <> -norm2 OR h <#> h <> -norm2 OR s <#> s <> -norm2
                 OR v::halfvec <> h OR h::vector <> v OR s::vector <> v OR vector_dims(v) <> dims",
        );
        assert_eq!(wrong, Ok(Some(0)));
        // constants are plain, columns are not: both sides of a distance in every form
        let wrong = Spi::get_one::<i64>(
            "SELECT count(*) FROM forms a JOIN forms b USING (dims) WHERE (a.v <-> b.v) <> 0 OR (a.h <+> b.h) <> 0
                 OR (a.s <-> b.s) <> 0 OR a.v <> b.v OR a.h <> b.h OR a.s <> b.s",
        );
        assert_eq!(wrong, Ok(Some(0)));
    }

    /// Values stored out of line are found behind their predecessor, through the index, or once for all rows.
    #[pg_test]
    fn values_out_of_line_in_any_order() {
        Spi::run(
            "CREATE TABLE far (id serial PRIMARY KEY, noise text, v vector, h halfvec, s sparsevec);
             ALTER TABLE far ALTER noise SET STORAGE external;
             CREATE FUNCTION made(i int) RETURNS vector LANGUAGE sql AS $$
                SELECT array_agg((i * 31 + j) % 97 + 1)::vector FROM generate_series(1, 520 + i % 7 * 300) j $$;
             INSERT INTO far (noise, v, h, s)
                SELECT repeat('x', i % 3 * 4000), made(i), made(i)::halfvec, made(i)::sparsevec FROM generate_series(1, 150) i;
             UPDATE far SET v = made(id + 1000) WHERE id % 5 = 0;
             DELETE FROM far WHERE id % 11 = 0;
             INSERT INTO far (noise, v, h, s) SELECT '', made(id), made(id)::halfvec, made(id)::sparsevec FROM far WHERE id % 4 = 0",
        )
        .unwrap();
        // an array cast detoasts through PostgreSQL: both ways must see the same values
        let wrong = "SELECT count(*) FROM (SELECT * FROM far ORDER BY ORDER_KEY) f
            WHERE (v <-> v::real[]::vector) <> 0 OR (v::real[]::vector <#> v) <> (v <#> v)
               OR (h <-> h::real[]::halfvec) <> 0 OR (s <-> h::real[]::vector::sparsevec) <> 0 OR v <> v::text::vector";
        for order in ["id", "id DESC", "md5(id::text)", "noise, id"] {
            assert_eq!(Spi::get_one::<i64>(&wrong.replace("ORDER_KEY", order)), Ok(Some(0)), "{order}");
        }
        assert_eq!(Spi::get_one::<bool>("SELECT count(*) > 100 FROM far"), Ok(Some(true)));
        // both sides out of line, one of them the same for many rows
        let joined = "SELECT count(*) FROM far a JOIN far b ON vector_dims(a.v) = vector_dims(b.v)
            WHERE (a.v <-> b.v) <> (a.v::real[]::vector <-> b.v::real[]::vector)";
        assert_eq!(Spi::get_one::<i64>(joined), Ok(Some(0)));
        let constant = "SELECT min(v <-> (SELECT v FROM far ORDER BY id LIMIT 1))
            FROM far WHERE vector_dims(v) = (SELECT vector_dims(v) FROM far ORDER BY id LIMIT 1)";
        assert_eq!(Spi::get_one::<f64>(constant), Ok(Some(0.0)));
        // the value of a constant changes between the statements of one transaction, and within a function
        Spi::run("CREATE TABLE one (v vector); INSERT INTO one SELECT made(1)").unwrap();
        let changing = Spi::get_one::<String>(
            "SELECT string_agg(d::text, ' ') FROM (VALUES (1), (2), (3)) x(i), LATERAL (
                SELECT (SELECT v FROM far WHERE id = i) <-> (SELECT v FROM far WHERE id = i) AS d) y",
        );
        assert_eq!(changing.unwrap().unwrap(), "0 0 0");
        Spi::run(
            "DO $$ DECLARE d float8; BEGIN FOR i IN 1..30 LOOP
                UPDATE one SET v = made(i);
                SELECT v <-> made(i) INTO d FROM one;
                IF d <> 0 THEN RAISE 'step %: %', i, d; END IF;
             END LOOP; END $$",
        )
        .unwrap();
    }

    /// A scan in storage order finds each value behind its predecessor and leaves the toast index alone: it
    /// touches far fewer pages than PostgreSQL's own fetch of the same values.
    #[pg_test]
    fn values_out_of_line_without_the_index() {
        Spi::run(
            "CREATE TABLE row_order AS SELECT i, (SELECT array_agg(i + j) FROM generate_series(1, 1536) j)::vector v
                FROM generate_series(1, 200) i;
             CREATE FUNCTION pages(query text) RETURNS int LANGUAGE plpgsql AS $$ DECLARE plan json; BEGIN
                EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || query INTO plan;
                RETURN (plan->0->'Plan'->>'Shared Hit Blocks')::int + (plan->0->'Plan'->>'Shared Read Blocks')::int;
             END $$",
        )
        .unwrap();
        let pages = |query: &str| {
            Spi::get_one::<i32>(&format!("SELECT pages('SELECT sum({query}) FROM row_order')"))
                .unwrap()
                .unwrap()
        };
        // a comparison of records has PostgreSQL fetch the value: two pages of the index and one of the table
        let (theirs, ours) = (
            pages("record_image_eq(ROW(v), ROW(v))::int"),
            pages("v <-> array_fill(1, ARRAY[1536])::vector"),
        );
        assert!(theirs >= 200 * 3, "{theirs}");
        assert!(ours < 200 * 3 / 2, "{ours} of {theirs}");
        // in no order: once a few places are known, a value's number leads to its page
        let shuffled = |query: &str| {
            let query = format!("SELECT sum({query}) FROM (SELECT v FROM row_order ORDER BY md5(i::text)) r");
            Spi::get_one::<i32>(&format!("SELECT pages('{query}')")).unwrap().unwrap()
        };
        let (theirs, ours) = (
            shuffled("record_image_eq(ROW(v), ROW(v))::int"),
            shuffled("v <-> array_fill(1, ARRAY[1536])::vector"),
        );
        assert!(theirs >= 200 * 3, "{theirs}");
        assert!(ours < 200 * 2, "{ours} of {theirs}");
        // what is known of a table's places does not survive its rewriting, nor does it mislead
        Spi::run("DELETE FROM row_order WHERE i % 3 = 0; UPDATE row_order SET v = v + v WHERE i % 5 = 0")
            .unwrap();
        let wrong = "SELECT count(*) FROM (SELECT v FROM row_order ORDER BY md5(i::text)) r WHERE (v <-> v::real[]::vector) <> 0";
        assert_eq!(Spi::get_one::<i64>(wrong), Ok(Some(0)));
    }

    /// Aggregates change their state in place; a window reads the state many times, which must not show.
    #[pg_test]
    fn aggregates_over_windows_and_groups() {
        let running = Spi::get_one::<String>(
            "SELECT string_agg(a::text || ' ' || s::text, ';' ORDER BY i) FROM (
                SELECT i, avg(v) OVER w a, sum(v) OVER w s FROM (
                    SELECT i, ('[' || i || ',' || 2 * i || ']')::vector v FROM generate_series(1, 4) i) t
                WINDOW w AS (ORDER BY i)) x",
        );
        assert_eq!(running.unwrap().unwrap(), "[1,2] [1,2];[1.5,3] [3,6];[2,4] [6,12];[2.5,5] [10,20]");
        let sliding = Spi::get_one::<String>(
            "SELECT string_agg(s::text, ';' ORDER BY i) FROM (
                SELECT i, sum(v) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) s FROM (
                    SELECT i, ('[' || i || ']')::vector v FROM generate_series(1, 4) i) t) x",
        );
        assert_eq!(sliding.unwrap().unwrap(), "[1];[3];[5];[7]");
        // the values that are summed stay as they are
        Spi::run("CREATE TABLE kept AS SELECT ('[' || i || ']')::vector v FROM generate_series(1, 3) i")
            .unwrap();
        let sums = "SELECT string_agg(s, ',') FROM (SELECT sum(v)::text s FROM kept UNION ALL
                    SELECT sum(DISTINCT v)::text FROM kept UNION ALL SELECT sum(v ORDER BY v DESC)::text FROM kept) x";
        assert_eq!(Spi::get_one::<String>(sums).unwrap().unwrap(), "[6],[6],[6]");
        let kept = Spi::get_one::<String>("SELECT string_agg(v::text, ',' ORDER BY v) FROM kept");
        assert_eq!(kept.unwrap().unwrap(), "[1],[2],[3]");
    }

    fn backend_memory() -> i64 {
        // resident pages, from /proc/self/statm
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<i64>().unwrap() * 4096
    }

    /// Errors leave by longjmp: caught ones must not leave memory behind.
    #[pg_test]
    fn caught_errors_leak_nothing() {
        let round = "DO $$ BEGIN FOR i IN 1..2000 LOOP
            BEGIN PERFORM ('[' || repeat('1,', 2000) || 'x]')::vector; EXCEPTION WHEN invalid_text_representation THEN END;
            BEGIN PERFORM '{1:1,1:2}/3'::sparsevec; EXCEPTION WHEN data_exception THEN END;
            BEGIN PERFORM '[1]'::vector <-> '[1,2]'; EXCEPTION WHEN data_exception THEN END;
            BEGIN PERFORM array_fill('Infinity'::float8, ARRAY[2000])::vector; EXCEPTION WHEN data_exception THEN END;
        END LOOP; END $$";
        Spi::run(round).unwrap();
        let before = backend_memory();
        Spi::run(round).unwrap();
        let grown = backend_memory() - before;
        assert!(grown < 8 << 20, "{grown} bytes");
    }

    /// 1000 rows on a line, `(i, i, i)` with id i, and an index of the access method on them.
    fn indexed_line(am: &str) {
        Spi::run(&format!(
            "DROP TABLE IF EXISTS line;
             CREATE TABLE line (id int, v vector(3));
             INSERT INTO line SELECT i, ARRAY[i, i, i]::vector FROM generate_series(1, 1000) i;
             CREATE INDEX line_v ON line USING {am} (v vector_l2_ops); ANALYZE line;
             SET LOCAL enable_seqscan = off; SET LOCAL ivfflat.probes = 100"
        ))
        .unwrap();
    }

    fn ids(query: &str) -> String {
        Spi::get_one(&format!("SELECT string_agg(id::text, ',') FROM ({query}) x"))
            .unwrap()
            .unwrap_or_default()
    }

    /// One transaction sees what it did to the table through the index.
    #[pg_test]
    fn indexes_are_built_scanned_and_inserted_into() {
        for am in ["hnsw", "ivfflat"] {
            indexed_line(am);
            let nearest = "SELECT id FROM line ORDER BY v <-> '[7.2,7.2,7.2]' LIMIT 3";
            let plan =
                Spi::get_one::<pgrx::Json>(&format!("EXPLAIN (FORMAT JSON) {nearest}")).unwrap().unwrap();
            assert!(plan.0.to_string().contains("\"Index Name\":\"line_v\""), "{am}: {}", plan.0);
            assert_eq!(ids(nearest), "7,8,6", "{am}");
            Spi::run("INSERT INTO line VALUES (1001, '[7.1,7.1,7.1]'), (1002, NULL); DELETE FROM line WHERE id = 8")
                .unwrap();
            assert_eq!(ids(nearest), "1001,7,6", "{am}");
            // a query of its own for each outer row, and for each fetch of a cursor
            let each = "SELECT b.id FROM generate_series(100, 300, 100) i,
                LATERAL (SELECT id FROM line ORDER BY v <-> ARRAY[i, i, i]::vector LIMIT 1) b";
            assert_eq!(ids(each), "100,200,300", "{am}");
            Spi::run(&format!("DECLARE c CURSOR FOR {nearest}")).unwrap();
            for id in [1001, 7, 6] {
                assert_eq!(Spi::get_one::<i32>("FETCH c"), Ok(Some(id)), "{am}");
            }
            Spi::run("CLOSE c; REINDEX INDEX line_v").unwrap();
            assert_eq!(ids(nearest), "1001,7,6", "{am}");
            let check = format!("SELECT count(*) FROM {am}_check('line_v', true)");
            assert_eq!(Spi::get_one::<i64>(&check), Ok(Some(0)), "{am}");
        }
    }

    /// A scan's state lives as long as the scan, and an error ends both.
    #[pg_test]
    fn scans_and_failing_scans_leak_nothing() {
        for am in ["hnsw", "ivfflat"] {
            indexed_line(am);
            let round = "DO $$ DECLARE c refcursor; BEGIN FOR i IN 1..500 LOOP
                PERFORM id FROM line ORDER BY v <-> ARRAY[i, i, i]::vector LIMIT 10;
                BEGIN PERFORM id FROM line ORDER BY v <-> ARRAY[i, i]::vector LIMIT 1; EXCEPTION WHEN data_exception THEN END;
                BEGIN
                    OPEN c FOR SELECT id FROM line ORDER BY v <-> ARRAY[i, i, i]::vector;
                    MOVE 3 FROM c;
                    RAISE division_by_zero;
                EXCEPTION WHEN division_by_zero THEN END;
            END LOOP; END $$";
            Spi::run(round).unwrap();
            let before = backend_memory();
            Spi::run(round).unwrap();
            let grown = backend_memory() - before;
            assert!(grown < 8 << 20, "{am}: {grown} bytes");
        }
    }

    /// They exist for operator classes that pgvector made; SQL cannot call them, only C code that does not know them.
    #[pg_test]
    fn type_support_functions_refuse() {
        for name in [
            "hnsw_halfvec_support",
            "hnsw_bit_support",
            "hnsw_sparsevec_support",
            "ivfflat_halfvec_support",
            "ivfflat_bit_support",
        ] {
            let function =
                Spi::get_one::<pg_sys::Oid>(&format!("SELECT '{name}'::regproc::oid")).unwrap().unwrap();
            let refused = PgTryBuilder::new(|| {
                // SAFETY: a function of one argument, which it does not look at.
                unsafe { pg_sys::OidFunctionCall1Coll(function, pg_sys::InvalidOid, Datum::null()) };
                false
            })
            .catch_when(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, |_| true)
            .execute();
            assert!(refused, "{name}");
        }
    }

    #[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
    #[pg_test]
    fn input_errors_can_be_saved() {
        for (ty, bad) in
            [("vector(3)", "[1,2]"), ("halfvec", "[1e9]"), ("sparsevec", "{0:1}/2"), ("vector", "[1,x]")]
        {
            let valid = Spi::get_one::<bool>(&format!("SELECT pg_input_is_valid('{bad}', '{ty}')"));
            assert_eq!(valid, Ok(Some(false)), "{ty} {bad}");
        }
        let detail = Spi::get_one::<String>("SELECT detail FROM pg_input_error_info('1]', 'vector')");
        assert_eq!(detail.unwrap().unwrap(), "Vector contents must start with \"[\".");
    }

    /// What our border raises when it ends `body`: the error's code, message and DETAIL.
    fn raised<R>(
        body: impl FnOnce() -> R + std::panic::UnwindSafe + std::panic::RefUnwindSafe,
    ) -> (PgSqlErrorCode, String, Option<String>) {
        PgTryBuilder::new(|| {
            // SAFETY: the border's frame holds nothing once the body has ended, and pgrx's boundary lies round it.
            unsafe { pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| guard::entry(|| drop(body()))) };
            (PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, String::new(), None)
        })
        .catch_others(|error| match error {
            pgrx::pg_sys::panic::CaughtError::PostgresError(report) => {
                (report.sql_error_code(), report.message().to_owned(), report.detail().map(ToOwned::to_owned))
            }
            other => panic!("not the server's error: {other:?}"),
        })
        .execute()
    }

    #[pg_test]
    fn a_panic_becomes_an_internal_error() {
        let internal = PgSqlErrorCode::ERRCODE_INTERNAL_ERROR;
        let text = "internal error of vector: odd 7".to_owned();
        assert_eq!(raised(|| panic!("odd {}", 7)), (internal, text, None));
    }

    /// An error of the server unwinds what lies between, leaves the backend's state as it was, and arrives whole; the
    /// border may lie round another one.
    #[pg_test]
    fn server_errors_unwind_and_arrive_whole() {
        struct Count<'c>(&'c std::cell::Cell<u32>);
        impl Drop for Count<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        // SAFETY: reads and sets variables of this backend; interrupts are let in again below.
        let state = || unsafe {
            (
                pg_sys::InterruptHoldoffCount,
                pg_sys::CurrentMemoryContext,
                pg_sys::PG_exception_stack as usize,
                pg_sys::error_context_stack as usize,
            )
        };
        let dropped = std::cell::Cell::new(0);
        let counter = std::panic::AssertUnwindSafe(&dropped);
        let error = raised(move || {
            let _outer = Count(*counter);
            // SAFETY: the inner border is called as the server would, under a guard.
            unsafe {
                guard::call(|| {
                    guard::entry(|| {
                        let _inner = Count(*counter);
                        pg_sys::InterruptHoldoffCount += 1;
                        let before = state();
                        let caught = std::panic::catch_unwind(|| server::table_open(pg_sys::Oid::INVALID, 0));
                        assert_eq!(state(), before);
                        pg_sys::InterruptHoldoffCount -= 1;
                        std::panic::resume_unwind(caught.unwrap_err())
                    })
                })
            }
        });
        assert_eq!(dropped.get(), 2);
        assert_eq!(error.0, PgSqlErrorCode::ERRCODE_INTERNAL_ERROR);
        assert!(error.1.contains("could not open relation with OID 0"), "{error:?}");
        assert_eq!(error.2, None);
        // the error stack of the server has five places
        for _ in 0..20 {
            let again = raised(|| {
                // SAFETY: opens nothing.
                unsafe { server::table_open(pg_sys::Oid::INVALID, 0) }
            });
            assert_eq!(again.1, error.1);
        }
    }
}
