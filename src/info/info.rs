//! `vector_index_info(index)`, as jsonb and as rows, and `vector_index_prewarm(index)`.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{Datum, ForkNumber};
use serde_json::{Map, Value, json};

use super::{METHODS, rows};
use crate::error::Error;
use crate::pg::blocks::PAGE_SIZE;
use crate::pg::call::Call;
use crate::pg::inspect::{observe, warm};
use crate::pg::relation::Rel;
use crate::pg::srf::{Cell, Rows};
use crate::{hnsw, ivfflat};

/// `vector_index_info(index regclass) RETURNS jsonb`
pub fn info(call: Call<'_>) -> Result<Datum, Error> {
    let described = observe(call.oid(0), &METHODS, describe)??;
    Ok(call.jsonb(&described.to_string()))
}

/// `vector_index_facts(index regclass) RETURNS TABLE (name text, value text)`
pub fn facts(call: Call<'_>) -> Result<Datum, Error> {
    let mut rows = rows(&call, 2)?;
    let described = observe(call.oid(0), &METHODS, describe)??;
    put(&mut rows, "", &described);
    Ok(Datum::from(0usize))
}

/// `vector_index_prewarm(index regclass) RETURNS bigint`
pub fn prewarm(call: Call<'_>) -> Result<i64, Error> {
    let count = observe(call.oid(0), &METHODS, |index, method| {
        // lists of an ivfflat index stand at its front
        let first = if method == "hnsw" { hnsw::info::warm(index)? } else { 0..0 };
        Ok::<_, Error>(warm(index, first))
    })??;
    Ok(count.into())
}

/// One row for each value that is none of others; names say the way to it.
fn put(rows: &mut Rows, name: &str, value: &Value) {
    let below = |key: &str| if name.is_empty() { key.to_string() } else { format!("{name}.{key}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| put(rows, &below(key), value)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (n, value) in items.iter().enumerate() {
                put(rows, &below(&n.to_string()), value);
            }
        }
        Value::Null => rows.put([Cell::Text(name), Cell::Null]),
        Value::String(text) => rows.put([Cell::Text(name), Cell::Text(text)]),
        value => rows.put([Cell::Text(name), Cell::Text(&value.to_string())]),
    }
}

fn describe(index: Rel<'_>, method: &'static str) -> Result<Value, Error> {
    let (described, options) = if method == "hnsw" {
        let (info, options) = hnsw::info::describe(index)?;
        let layout = options.layout.name("inline");
        let options = json!({
            "m": options.m, "ef_construction": options.ef_construction, "layout": layout, "runs": options.runs
        });
        (serde_json::to_value(info), options)
    } else {
        let (info, options) = ivfflat::info::describe(index)?;
        let layout = options.layout.name("packed");
        let options = json!({ "lists": options.lists, "layout": layout, "runs": options.runs });
        (serde_json::to_value(info), options)
    };
    let mut fields = match described {
        Ok(Value::Object(fields)) => fields,
        _ => {
            return Err(Error::Fixed(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "an index could not be described",
            ));
        }
    };
    let blocks = u64::from(index.blocks(ForkNumber::MAIN_FORKNUM));
    let bytes = blocks * PAGE_SIZE as u64;
    let rows = fields.get("rows").and_then(Value::as_u64).unwrap_or(0);
    let more: [(&str, Value); 5] = [
        ("access_method", method.into()),
        ("options", options),
        ("blocks", blocks.into()),
        ("bytes", bytes.into()),
        ("bytes_per_row", bytes.checked_div(rows).into()),
    ];
    add(&mut fields, more);
    // where there is only one
    fields.entry("layout").or_insert("pgvector".into());
    Ok(Value::Object(fields))
}

fn add<const N: usize>(fields: &mut Map<String, Value>, more: [(&str, Value); N]) {
    for (name, value) in more {
        fields.insert(name.to_string(), value);
    }
}
