// Retrieval for a language model, in JavaScript with pg. Vectors of sentences come from a Python process behind a pipe (embed.py);
// in production they come from an embedding service.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import pg from 'pg';
import pgvector from 'pgvector/pg';

// Each question with the title of the passage that answers it.
const questions = new Map([
  ['Two sessions wait for each other and one of them fails, why?', 'Deadlocks'],
  ['How can searches be answered by a copy of the primary server?', 'Streaming replication'],
  ['Importing millions of rows takes hours', 'Copying data in bulk'],
]);

class Embedder {
  constructor(command) {
    const [program, ...args] = command.split(' ');
    this.child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  // Returns the sentence's vector as an array of numbers.
  async embed(sentence) {
    this.child.stdin.write(`${sentence.replaceAll('\n', ' ')}\n`);
    const { value, done } = await this.lines.next();
    if (done) throw new Error('the embedding process ended');
    return JSON.parse(value);
  }

  close() {
    this.child.stdin.end();
  }
}

const embedder = new Embedder(process.env.EMBED ?? 'python3 ../embed.py');
// Where to connect to stands in PGHOST, PGUSER and so on.
const client = new pg.Client();
await client.connect();
try {
  await client.query('CREATE EXTENSION IF NOT EXISTS vector');
  await pgvector.registerTypes(client);
  await client.query('CREATE TABLE passages (id int PRIMARY KEY, title text, body text, embedding vector(384))');

  const [, ...rows] = readFileSync(process.env.PASSAGES ?? '../../data/passages.tsv', 'utf8').trimEnd().split('\n').map((line) => line.split('\t'));
  await client.query('BEGIN');
  for (const [index, [title, body]] of rows.entries()) {
    const embedding = await embedder.embed(`${title}. ${body}`);
    await client.query('INSERT INTO passages VALUES ($1, $2, $3, $4)', [index + 1, title, body, pgvector.toSql(embedding)]);
  }
  await client.query('COMMIT');
  await client.query('CREATE INDEX ON passages USING hnsw (embedding vector_cosine_ops)');
  console.log(`${rows.length} passages\n`);

  for (const [question, title] of questions) {
    const embedding = pgvector.toSql(await embedder.embed(question));
    const { rows: found } = await client.query({
      name: 'nearest', // prepared once
      text: 'SELECT title, body, embedding <=> $1 AS distance FROM passages ORDER BY embedding <=> $1 LIMIT $2',
      values: [embedding, 3],
    });
    console.log(question);
    for (const row of found) console.log(`    ${row.distance.toFixed(3)}  ${row.title}`);
    assert(found.some((row) => row.title === title), `${title} was not found`);
    console.log(`ok - found: ${title}`);
  }

  const { rows: [stored] } = await client.query('SELECT embedding FROM passages WHERE id = 1');
  assert.equal(stored.embedding.length, 384);
  console.log('ok - vectors come back as arrays of numbers');
} finally {
  await client.end();
  embedder.close();
}
