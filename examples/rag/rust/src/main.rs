//! Retrieval for a language model, in Rust with tokio-postgres. Vectors of sentences come from a Python process
//! behind a pipe (embed.py); in production they come from an embedding service.

use pgvector::Vector;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tokio_postgres::{Config, NoTls};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Each question with the title of the passage that answers it.
const QUESTIONS: [(&str, &str); 3] = [
    ("My disk fills up although I delete rows all day", "Vacuum"),
    ("How many connections can a thousand clients share?", "Connection pooling"),
    ("The index is twice as large as memory. Can its vectors be smaller?", "Half precision"),
];

struct Embedder {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Embedder {
    fn start() -> Result<Self> {
        let command = std::env::var("EMBED").unwrap_or_else(|_| "python3 ../embed.py".into());
        let mut words = command.split(' ');
        let program = words.next().ok_or("EMBED is empty")?;
        let mut child =
            Command::new(program).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("the embedding process has no output")?);
        Ok(Self { child, input, output })
    }

    /// Returns the sentence's vector of 384 components.
    fn embed(&mut self, sentence: &str) -> Result<Vector> {
        let input = self.input.as_mut().ok_or("the embedding process has no input")?;
        writeln!(input, "{}", sentence.replace('\n', " "))?;
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("the embedding process ended".into());
        }
        let numbers = line.trim().trim_start_matches('[').trim_end_matches(']').split(',');
        Ok(Vector::from(numbers.map(str::parse).collect::<std::result::Result<Vec<f32>, _>>()?))
    }
}

impl Drop for Embedder {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.input.take();
        let _ = self.child.wait();
    }
}

/// The server that PGHOST, PGPORT, PGUSER and PGDATABASE name.
fn config() -> Result<Config> {
    let mut config = Config::new();
    config.host(std::env::var("PGHOST")?).user(std::env::var("PGUSER")?).dbname(std::env::var("PGDATABASE")?);
    config.port(std::env::var("PGPORT").unwrap_or_else(|_| "5432".into()).parse()?);
    Ok(config)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut embedder = Embedder::start()?;
    let (client, connection) = config()?.connect(NoTls).await?;
    let connection = tokio::spawn(connection);
    client
        .batch_execute(
            "CREATE EXTENSION IF NOT EXISTS vector;
             CREATE TABLE passages (id int PRIMARY KEY, title text, body text, embedding vector(384))",
        )
        .await?;

    let file = std::env::var("PASSAGES").unwrap_or_else(|_| "../../data/passages.tsv".into());
    let insert = client.prepare("INSERT INTO passages VALUES ($1, $2, $3, $4)").await?;
    let mut count = 0;
    for line in std::fs::read_to_string(file)?.lines().skip(1) {
        let (title, body) = line.split_once('\t').ok_or("a passage without a title")?;
        count += 1;
        let embedding = embedder.embed(&format!("{title}. {body}"))?;
        client.execute(&insert, &[&count, &title, &body, &embedding]).await?;
    }
    client.batch_execute("CREATE INDEX ON passages USING hnsw (embedding vector_cosine_ops)").await?;
    println!("{count} passages\n");

    let nearest = client
        .prepare(
            "SELECT title, embedding <=> $1 AS distance FROM passages ORDER BY embedding <=> $1 LIMIT $2",
        )
        .await?;
    for (question, title) in QUESTIONS {
        println!("{question}");
        let rows = client.query(&nearest, &[&embedder.embed(question)?, &3i64]).await?;
        let mut found = false;
        for row in &rows {
            let (name, distance): (&str, f64) = (row.get(0), row.get(1));
            println!("    {distance:.3}  {name}");
            found |= name == title;
        }
        if !found {
            return Err(format!("{title} was not found").into());
        }
        println!("ok - found: {title}");
    }

    let stored: Vector = client.query_one("SELECT embedding FROM passages WHERE id = 1", &[]).await?.get(0);
    if stored.as_slice().len() != 384 {
        return Err("a vector came back with another length".into());
    }
    println!("ok - vectors come back as slices of f32");
    drop(client);
    connection.await??;
    Ok(())
}
