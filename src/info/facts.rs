//! What the catalog says of an index, as queries need it.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Oid;

use super::METHODS;
use crate::error::Error;
use crate::pg::planner::Settings;
use crate::pg::spi::Spi;

/// An index and the SQL that orders its table as it does, in the server's encoding.
#[derive(Debug)]
pub struct Subject {
    /// the index
    pub index: Oid,
    /// its table
    pub table: Oid,
    /// the type of the indexed values
    pub kind: Oid,
    /// whether it is hnsw, else ivfflat
    pub graph: bool,
    /// storage parameter `lists` of an ivfflat index
    pub lists: u32,
    /// its name as the server writes it in JSON, quoted
    pub json_name: Vec<u8>,
    /// the table's owner, if the caller may act as the owner: whatever is asked of a table runs code that the owner
    /// chose, while it is planned at the latest (expressions of other indexes, of statistics, of constraints)
    pub run_as: Option<Oid>,
    /// `FROM ONLY table WHERE expression IS NOT NULL AND predicate`, with a space before
    from: Vec<u8>,
    /// `FROM ONLY table WHERE predicate`, as a query for the index has it
    from_index: Vec<u8>,
    /// the indexed column or expression
    expression: Vec<u8>,
    /// the operator, with its schema
    operator: Vec<u8>,
    /// its function
    pub function: Oid,
}

/// Everything is named with its schema, but operators and functions of pg_catalog in deparsed expressions: these come
/// first in every search path that has not put something before them on purpose.
const LOOKUP: &str = "SELECT x.indexrelid, x.indrelid, a.atttypid, m.amname, c.relkind, x.indisvalid AND x.indisready, \
    pg_catalog.pg_get_indexdef(x.indexrelid, 1, false), \
    pg_catalog.pg_get_expr(x.indpred, x.indrelid), \
    pg_catalog.quote_ident(tn.nspname) || '.' || pg_catalog.quote_ident(t.relname), \
    'OPERATOR(' || pg_catalog.quote_ident(opn.nspname) || '.' || o.oprname || ')', \
    c.relname, \
    pg_catalog.substring(pg_catalog.array_to_string(c.reloptions, ','), 'lists=([0-9]+)'), \
    CASE WHEN pg_catalog.pg_has_role(t.relowner, 'USAGE') THEN t.relowner END, \
    pg_catalog.to_json(c.relname::pg_catalog.text), o.oprcode::pg_catalog.oid \
    FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_am m ON m.oid = c.relam \
    LEFT JOIN pg_catalog.pg_index x ON x.indexrelid = c.oid \
    LEFT JOIN pg_catalog.pg_class t ON t.oid = x.indrelid \
    LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1 \
    LEFT JOIN pg_catalog.pg_opclass oc ON oc.oid = x.indclass[0] \
    LEFT JOIN pg_catalog.pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoppurpose = 'o' \
        AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 1 \
    LEFT JOIN pg_catalog.pg_operator o ON o.oid = ao.amopopr \
        AND o.oprresult = 'pg_catalog.float8'::pg_catalog.regtype \
    LEFT JOIN pg_catalog.pg_namespace opn ON opn.oid = o.oprnamespace \
    WHERE c.oid = ";

/// A search path in which names of the catalog mean the catalog's, and deparsed names of others have their schema.
pub fn catalog_only() -> Settings {
    let settings = Settings::begin();
    settings.set(c"search_path", c"pg_catalog, pg_temp");
    settings
}

impl Subject {
    /// Looks an index up.
    ///
    /// # Errors
    /// What is no index of this extension, or one that queries cannot use.
    pub fn of(spi: &Spi, index: Oid) -> Result<Self, Error> {
        let settings = catalog_only();
        let (mut found, mut problem) = (None, None);
        let sql = format!("{LOOKUP}{}", index.to_u32());
        spi.query::<Error>(sql.as_bytes(), |row| {
            let text = |n| row.text(n).unwrap_or_default();
            let (method, name) = (text(3), text(10));
            let name = String::from_utf8_lossy(&name).into_owned();
            let graph = method == b"hnsw";
            if !METHODS.iter().any(|known| known.as_bytes() == method) {
                problem = Some(Error::Message(
                    PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                    format!("\"{name}\" is not an index of access method hnsw or ivfflat"),
                ));
            } else if text(4) != b"i" {
                problem = Some(Error::Message(
                    PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                    format!("\"{name}\" is a partitioned index, whose parts are looked at one by one"),
                ));
            } else if !row.bool(5) {
                problem = Some(Error::Message(
                    PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                    format!("index \"{name}\" is not valid, and so no query uses it"),
                ));
            }
            let (expression, table) = (text(6), text(8));
            let predicate = row.text(7);
            let only = [b" FROM ONLY ".as_slice(), &table, b" WHERE "].concat();
            let and = |sql: &[u8]| match &predicate {
                Some(predicate) => [sql, predicate.as_slice()].concat(),
                None => Vec::new(),
            };
            let from = [&only, expression.as_slice(), b" IS NOT NULL", &and(b" AND ")].concat();
            found = Some(Subject {
                index: row.oid(0),
                table: row.oid(1),
                kind: row.oid(2),
                graph,
                lists: row.number(11).unwrap_or(100),
                json_name: text(13),
                run_as: row.number::<u32>(12).map(Oid::from),
                from,
                from_index: if predicate.is_some() {
                    [&only, and(b"").as_slice()].concat()
                } else {
                    [b" FROM ONLY ".as_slice(), &table].concat()
                },
                expression,
                operator: text(9),
                function: row.oid(14),
            });
            Ok(())
        })?;
        drop(settings);
        match (problem, found) {
            (Some(problem), _) => Err(problem),
            (None, Some(subject)) if !subject.operator.is_empty() => Ok(subject),
            (None, Some(_)) => Err(Error::Fixed(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "the index's operator class has no operator to order by",
            )),
            (None, None) => {
                let message = format!("relation with OID {} does not exist", index.to_u32());
                Err(Error::Message(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, message))
            }
        }
    }

    /// The expression's distance from `other`.
    fn distance(&self, other: &[u8]) -> Vec<u8> {
        [self.expression.as_slice(), b" ", &self.operator, b" ", other].concat()
    }

    /// A query for values of rows drawn at random. What the index leaves out (NULL, and values that are at no distance
    /// even from themselves: vectors of zeros under the cosine distance) is no question.
    pub fn sample(&self, queries: usize) -> Vec<u8> {
        let own = self.distance(&self.expression);
        let limit = format!(" ORDER BY pg_catalog.random() LIMIT {queries}");
        let comparable = b" OPERATOR(pg_catalog.<>) 'NaN'::pg_catalog.float8";
        [
            b"SELECT ",
            self.expression.as_slice(),
            &self.from,
            b" AND (",
            &own,
            b")",
            comparable,
            limit.as_bytes(),
        ]
        .concat()
    }

    /// A query for the values of all rows.
    pub fn all(&self) -> Vec<u8> {
        [b"SELECT ", self.expression.as_slice(), &self.from].concat()
    }

    /// A query for the distances of the `k` nearest rows, exactly.
    pub fn exact(&self, k: usize) -> Vec<u8> {
        self.nearest(&self.from, k)
    }

    /// The same, as somebody asks who wants it from the index.
    pub fn through_index(&self, k: usize) -> Vec<u8> {
        self.nearest(&self.from_index, k)
    }

    fn nearest(&self, from: &[u8], k: usize) -> Vec<u8> {
        let distance = self.distance(b"$1");
        let limit = format!(" LIMIT {k}");
        [b"SELECT ", distance.as_slice(), from, b" ORDER BY ", &distance, limit.as_bytes()].concat()
    }
}
