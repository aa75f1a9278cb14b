"""LangChain: langchain-postgres keeps documents and vectors in a table; a retriever finds them. All offline."""

from __future__ import annotations

import csv
import os
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1]
from embed import DIMENSIONS, Embedder
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.prompts import ChatPromptTemplate
from langchain_postgres import PGEngine, PGVectorStore
from langchain_postgres.v2.indexes import DistanceStrategy, HNSWIndex


class MiniLM(Embeddings):
    """The model of the other examples behind LangChain's interface."""

    def __init__(self) -> None:
        self.embed = Embedder()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed(text).tolist() for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed(text).tolist()


def documents() -> list[Document]:
    with open(EXAMPLES / "data" / "passages.tsv", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [
            Document(
                page_content=f"{row['title']}. {row['body']}", metadata={"title": row["title"], "half": number % 2}
            )
            for number, row in enumerate(rows)
        ]


def main() -> None:
    engine = PGEngine.from_connection_string(
        f"postgresql+psycopg://{os.environ['PGUSER']}@/{os.environ['PGDATABASE']}?host={os.environ['PGHOST']}&port={os.environ['PGPORT']}"
    )
    engine.init_vectorstore_table("passages", DIMENSIONS)
    store = PGVectorStore.create_sync(engine, MiniLM(), "passages", distance_strategy=DistanceStrategy.COSINE_DISTANCE)
    added = store.add_documents(documents())
    print(f"{len(added)} passages\n")
    store.apply_vector_index(HNSWIndex(name="passages_embedding", distance_strategy=DistanceStrategy.COSINE_DISTANCE))
    assert store.is_valid_index("passages_embedding")
    print("ok - an hnsw index was made through LangChain")

    question = "How can I get rows back that somebody deleted by mistake?"
    retriever = store.as_retriever(search_kwargs={"k": 3})
    found = retriever.invoke(question)
    print(question)
    for document in found:
        print(f"    {document.metadata['title']}")
    assert "Point-in-time recovery" in [document.metadata["title"] for document in found]
    print("ok - the retriever finds the passage")

    filtered = store.similarity_search_with_score(question, k=5, filter={"half": 1})
    assert len(filtered) == 5 and all(document.metadata["half"] == 1 for document, _ in filtered)
    assert [score for _, score in filtered] == sorted(score for _, score in filtered)
    print("ok - a filter on metadata holds, and scores are in order")

    prompt = ChatPromptTemplate.from_template("Answer from these passages:\n{passages}\n\nQuestion: {question}")
    asked = prompt.format(passages="\n".join(document.page_content for document in found), question=question)
    assert "base backup" in asked
    print("ok - the prompt holds the passage\n")
    print(asked)


if __name__ == "__main__":
    main()
