-- A search over all shards. Each subquery is sent whole, ORDER BY and LIMIT included, and uses the shard's index; each shard returns k rows.
-- "+ 0" makes the outer order another expression than the inner ones: the planner then takes Append, which asks all shards at once
-- (PostgreSQL 15 and later; 14 asks one after the other), instead of Merge Append, which waits for each in turn.
-- The planner sees through the function when its argument is a parameter or a column; an argument that is a subquery hides the body from it.
CREATE FUNCTION nearest(question vector, k int) RETURNS TABLE (id int, distance float8) LANGUAGE sql STABLE AS $$
    SELECT id, distance FROM (
        (SELECT id, embedding <-> question AS distance FROM items_1 ORDER BY embedding <-> question LIMIT k)
        UNION ALL
        (SELECT id, embedding <-> question FROM items_2 ORDER BY embedding <-> question LIMIT k)
        UNION ALL
        (SELECT id, embedding <-> question FROM items_3 ORDER BY embedding <-> question LIMIT k)
    ) shards
    ORDER BY distance + 0 LIMIT k
$$;
