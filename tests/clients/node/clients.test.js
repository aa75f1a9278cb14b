// The npm package `pgvector` with `pg`: types both ways, distances, indexes, iterative scans, COPY, cursors, errors.
// The server is the one of PGHOST, PGPORT, PGUSER and PGDATABASE: scripts/clients.sh starts one.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import pg from 'pg';
import Cursor from 'pg-cursor';
import copyStreams from 'pg-copy-streams';
import pgvector, { SparseVector } from 'pgvector';
import { registerTypes } from 'pgvector/pg';

const ROWS = 300;
const DIMS = 12;

// Eighths are exact in half precision, and the same at every run.
let state = 42;
function random() {
  state = (state * 1103515245 + 12345) % 2147483648;
  // Adding nothing makes -0 a 0.
  return Math.round((state / 2147483648 - 0.5) * 64) / 8 + 0;
}
const dense = Array.from({ length: ROWS }, () => Array.from({ length: DIMS }, random));
const sparse = dense.map((row) => row.map((x, i) => (i === 0 ? 0.5 : x > 1 ? x : 0)));
const bits = dense.map((row) => row.map((x) => (x > 0 ? 1 : 0)));

const sum = (a, b, f) => a.reduce((total, x, i) => total + f(x, b[i]), 0);
const DISTANCES = {
  '<->': (a, b) => Math.sqrt(sum(a, b, (x, y) => (x - y) ** 2)),
  '<#>': (a, b) => -sum(a, b, (x, y) => x * y),
  '<=>': (a, b) => 1 - sum(a, b, (x, y) => x * y) / Math.sqrt(sum(a, a, (x, y) => x * y) * sum(b, b, (x, y) => x * y)),
  '<+>': (a, b) => sum(a, b, (x, y) => Math.abs(x - y)),
  '<~>': (a, b) => sum(a, b, (x, y) => (x === y ? 0 : 1)),
  '<%>': (a, b) => {
    const both = sum(a, b, (x, y) => x & y);
    return both === 0 ? 1 : 1 - both / sum(a, b, (x, y) => x | y);
  },
};
const MEASURES = { '<->': 'l2', '<#>': 'ip', '<=>': 'cosine', '<+>': 'l1', '<~>': 'hamming', '<%>': 'jaccard' };
const KINDS = {
  vector: { rows: dense, sql: (row) => pgvector.toSql(row), operators: ['<->', '<#>', '<=>', '<+>'] },
  halfvec: { rows: dense, sql: (row) => pgvector.toSql(row), operators: ['<->', '<#>', '<=>', '<+>'] },
  sparsevec: { rows: sparse, sql: (row) => pgvector.toSql(new SparseVector(row)), operators: ['<->', '<#>', '<=>', '<+>'] },
  bit: { rows: bits, sql: (row) => row.join(''), operators: ['<~>', '<%>'] },
};

let client;
before(async () => {
  client = new pg.Client();
  await client.connect();
  await client.query('CREATE EXTENSION IF NOT EXISTS vector');
  await registerTypes(client);
});
after(() => client.end());

async function fill(table, name) {
  const kind = KINDS[name];
  await client.query(`DROP TABLE IF EXISTS ${table}`);
  await client.query(`CREATE TABLE ${table} (id int PRIMARY KEY, category int, e ${name}(${DIMS}))`);
  const values = kind.rows.map((row) => kind.sql(row));
  await client.query(`INSERT INTO ${table} SELECT n - 1, n % 10, e::${name}(${DIMS}) FROM unnest($1::text[]) WITH ORDINALITY AS u (e, n)`, [values]);
  await client.query(`ANALYZE ${table}`);
}

/** Runs `body` with settings of this transaction, which is rolled back. */
async function inside(settings, body) {
  await client.query('BEGIN');
  try {
    for (const setting of settings) await client.query(`SET LOCAL ${setting}`);
    await body();
  } finally {
    await client.query('ROLLBACK');
  }
}

function close(a, b) {
  assert.ok(Math.abs(a - b) <= 1e-4 * (1 + Math.abs(b)), `${a} is not ${b}`);
}

for (const [name, kind] of Object.entries(KINDS)) {
  test(`${name}: values come back`, async () => {
    await fill('trip', name);
    await client.query('INSERT INTO trip VALUES ($1, 0, $2)', [ROWS, null]);
    const { rows } = await client.query('SELECT e FROM trip ORDER BY id');
    assert.equal(rows[ROWS].e, null);
    for (const [n, row] of kind.rows.entries()) {
      const got = rows[n].e;
      assert.deepEqual(name === 'sparsevec' ? got.toArray() : name === 'bit' ? [...got].map(Number) : got, row);
    }
  });

  test(`${name}: binary COPY out and in`, async () => {
    await fill('copied', name);
    const chunks = [];
    for await (const chunk of client.query(copyStreams.to('COPY copied TO STDOUT (FORMAT binary)'))) chunks.push(chunk);
    await client.query('DROP TABLE IF EXISTS copied_back');
    await client.query('CREATE TABLE copied_back (LIKE copied)');
    await pipeline(Readable.from(chunks), client.query(copyStreams.from('COPY copied_back FROM STDIN (FORMAT binary)')));
    const { rows } = await client.query('SELECT count(*)::int AS n FROM copied a JOIN copied_back b USING (id) WHERE a.e = b.e');
    assert.equal(rows[0].n, ROWS);
  });

  for (const operator of kind.operators) {
    test(`${name} ${operator}: distances, and neighbours through hnsw`, async () => {
      await fill('near', name);
      const query = kind.rows[7];
      const { rows } = await client.query(`SELECT e ${operator} $1 AS d FROM near ORDER BY id`, [kind.sql(query)]);
      for (const [n, row] of kind.rows.entries()) close(rows[n].d, DISTANCES[operator](row, query));
      await client.query(`CREATE INDEX near_i ON near USING hnsw (e ${name}_${MEASURES[operator]}_ops)`);
      await inside(['enable_seqscan = off'], async () => {
        const question = `SELECT e ${operator} $1 AS d FROM near ORDER BY e ${operator} $1 LIMIT 10`;
        const plan = await client.query(`EXPLAIN ${question}`, [kind.sql(query)]);
        assert.match(JSON.stringify(plan.rows), /Index (Only )?Scan using near_i/);
        const got = (await client.query(question, [kind.sql(query)])).rows.map((row) => row.d);
        const exact = kind.rows.map((row) => DISTANCES[operator](row, query)).sort((a, b) => a - b);
        assert.deepEqual(got, [...got].sort((a, b) => a - b));
        assert.ok(got.filter((d) => d <= exact[9] + 1e-4 * (1 + Math.abs(exact[9]))).length >= 9);
      });
    });
  }
}

test('ivfflat, expression and partial indexes', async () => {
  await fill('kinds', 'vector');
  const query = pgvector.toSql(dense[4]);
  for (const [index, question] of [
    ['ivfflat (e vector_l2_ops) WITH (lists = 5)', 'SELECT id FROM kinds ORDER BY e <-> $1 LIMIT 5'],
    ['ivfflat (e vector_cosine_ops) WITH (lists = 5)', 'SELECT id FROM kinds ORDER BY e <=> $1 LIMIT 5'],
    [`hnsw ((e::halfvec(${DIMS})) halfvec_l2_ops)`, `SELECT id FROM kinds ORDER BY e::halfvec(${DIMS}) <-> $1::halfvec(${DIMS}) LIMIT 5`],
    [`hnsw ((binary_quantize(e)::bit(${DIMS})) bit_hamming_ops)`, `SELECT id FROM kinds ORDER BY binary_quantize(e)::bit(${DIMS}) <~> binary_quantize($1::vector)::bit(${DIMS}) LIMIT 5`],
    ['hnsw (e vector_l1_ops) WHERE category = 5', 'SELECT id FROM kinds WHERE category = 5 ORDER BY e <+> $1 LIMIT 5'],
  ]) {
    await client.query(`CREATE INDEX kinds_i ON kinds USING ${index}`);
    await inside(['enable_seqscan = off', 'ivfflat.probes = 5'], async () => {
      assert.match(JSON.stringify((await client.query(`EXPLAIN ${question}`, [query])).rows), /Index (Only )?Scan using kinds_i/);
      const { rows } = await client.query(question, [query]);
      assert.equal(rows[0].id, 4);
      assert.equal(rows.length, 5);
    });
    await client.query('DROP INDEX kinds_i');
  }
});

test('iterative scans, and a cursor over one', async () => {
  await fill('going', 'halfvec');
  await client.query('CREATE INDEX going_i ON going USING hnsw (e halfvec_l2_ops)');
  const value = pgvector.toSql(dense[0]);
  const settings = ['enable_seqscan = off', 'enable_sort = off', 'hnsw.ef_search = 10'];
  const question = 'SELECT id FROM going WHERE category = 3 ORDER BY e <-> $1 LIMIT 20';
  await inside([...settings, 'hnsw.iterative_scan = off'], async () => assert.ok((await client.query(question, [value])).rows.length < 20));
  for (const mode of ['strict_order', 'relaxed_order']) {
    await inside([...settings, `hnsw.iterative_scan = ${mode}`], async () => assert.equal((await client.query(question, [value])).rows.length, 20));
  }
  await inside([...settings, 'hnsw.iterative_scan = relaxed_order'], async () => {
    const cursor = client.query(new Cursor('SELECT id FROM going ORDER BY e <-> $1', [value]));
    const seen = new Set();
    for (let rows = await cursor.read(17); rows.length; rows = await cursor.read(17)) rows.forEach((row) => seen.add(row.id));
    await cursor.close();
    assert.equal(seen.size, ROWS);
  });
});

test('prepared statements', async () => {
  await fill('prepared', 'vector');
  await client.query('CREATE INDEX prepared_i ON prepared USING hnsw (e vector_l2_ops)');
  await inside(['enable_seqscan = off', 'plan_cache_mode = force_generic_plan'], async () => {
    for (let n = 0; n < 30; n++) {
      const { rows } = await client.query({ name: 'nearest', text: 'SELECT id FROM prepared ORDER BY e <-> $1 LIMIT 1', values: [pgvector.toSql(dense[n])] });
      assert.equal(rows[0].id, n);
    }
  });
});

test('errors have their codes, and the session goes on', async () => {
  await fill('failing', 'vector');
  for (const [statement, values, code, words] of [
    ['INSERT INTO failing VALUES (-1, 0, $1)', ['[1,2]'], '22000', /expected 12 dimensions, not 2/],
    ['SELECT e <-> $1 FROM failing', ['[1,2]'], '22000', /different vector dimensions 12 and 2/],
    ['SELECT $1::vector', ['[1,2'], '22P02', /invalid input syntax for type vector/],
    ['SELECT $1::vector', ['[NaN]'], '22000', /NaN not allowed in vector/],
    ['SELECT $1::halfvec', ['[1e9]'], '22003', /out of range for type halfvec/],
    ['SELECT $1::sparsevec', ['{3:1,2:1}/2'], '22000', /./],
    ['SELECT $1::vector * $1::vector', ['[1e30]'], '22003', /value out of range: overflow/],
    ['CREATE INDEX ON failing USING hnsw (e)', [], '42704', /has no default operator class/],
  ]) {
    await assert.rejects(client.query(statement, values), (error) => error instanceof pg.DatabaseError && error.code === code && words.test(error.message));
  }
  assert.equal((await client.query('SELECT count(*)::int AS n FROM failing')).rows[0].n, ROWS);
});

test('transactions and savepoints', async () => {
  await fill('ledger', 'vector');
  await client.query('CREATE INDEX ledger_i ON ledger USING hnsw (e vector_l2_ops)');
  const far = pgvector.toSql(Array(DIMS).fill(100));
  const first = async () => (await client.query('SELECT id FROM ledger ORDER BY e <-> $1 LIMIT 1', [far])).rows[0].id;
  await client.query('SET enable_seqscan = off');
  await client.query('BEGIN');
  await client.query('INSERT INTO ledger VALUES (1000, 0, $1)', [far]);
  assert.equal(await first(), 1000);
  await client.query('ROLLBACK');
  assert.notEqual(await first(), 1000);
  await client.query('BEGIN');
  await client.query('INSERT INTO ledger VALUES (1001, 0, $1)', [far]);
  await client.query('SAVEPOINT s');
  await assert.rejects(client.query("INSERT INTO ledger VALUES (1002, 0, '[1]')"));
  await client.query('ROLLBACK TO s');
  await client.query('COMMIT');
  assert.equal(await first(), 1001);
  await client.query('RESET enable_seqscan');
});

test('a pool of clients at once', async () => {
  await fill('pooled', 'vector');
  await client.query('CREATE INDEX pooled_i ON pooled USING hnsw (e vector_cosine_ops)');
  const pool = new pg.Pool({ max: 4 });
  const found = await Promise.all(
    dense.slice(0, 40).map(async (row, n) => {
      const one = await pool.connect();
      try {
        await one.query('SET enable_seqscan = off');
        await one.query('INSERT INTO pooled VALUES ($1, 0, $2)', [1000 + n, pgvector.toSql(row.map((x) => x * 2))]);
        const { rows } = await one.query('SELECT id FROM pooled ORDER BY e <=> $1 LIMIT 2', [pgvector.toSql(row)]);
        return rows.map((r) => r.id).sort((a, b) => a - b).join() === `${n},${1000 + n}`;
      } finally {
        one.release();
      }
    }),
  );
  await pool.end();
  assert.ok(found.every(Boolean));
});
