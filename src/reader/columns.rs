//! The mapped columns, held against the database: how each value travels, and the steps from it to its field.

use sqlx::{AssertSqlSafe, postgres::PgTypeInfo};

use super::{
    SourceError,
    column_type::{Form, base_name},
    plan::{Column, Decrypt, Steps, expression},
    relation::{missing_column, problem, types},
    value_limit,
};
use crate::{
    config::{Decryption, Expression, Field, Mapping, Pick, Problem},
    decrypt::{Decryptor, Wire},
    postgres::{Failure, Session, quote_literal},
};

/// Makes columns of mappings, and collects what is wrong with them.
pub(super) struct Columns<'a> {
    pub(super) connection: &'a mut Session,
    pub(super) from: &'a str,
    /// The names of the relation's columns.
    pub(super) names: &'a [String],
    pub(super) problems: &'a mut Vec<Problem>,
    /// Decryptors whose data keys were read, and the query they came from.
    pub(super) data_keys: Vec<(String, Decryptor)>,
}

impl Columns<'_> {
    /// The column of a field; `None` if something is wrong with it, which is noted under `key`.
    pub(super) async fn column(
        &mut self,
        field: Field,
        key: &str,
        wanted: &Mapping,
    ) -> Result<Option<Column>, SourceError> {
        let value = self.value(field, key, wanted).await?;
        let Some(since) = &wanted.since else {
            return Ok(value);
        };
        let since_key = format!("{key}.since");
        let since = self.value(field, &since_key, since).await?;
        Ok(value.zip(since).map(|(value, since)| Column {
            since: Some(Box::new(since)),
            ..value
        }))
    }

    async fn value(
        &mut self,
        field: Field,
        key: &str,
        wanted: &Mapping,
    ) -> Result<Option<Column>, SourceError> {
        let raw = expression(&wanted.expression);
        let Some(info) = self.type_of(key, &wanted.expression, &raw).await? else {
            return Ok(None);
        };
        if field.is_compared() && (wanted.pick.is_some() || wanted.strip_prefix.is_some()) {
            return self.compared(field, key, wanted, &raw, &info).await;
        }
        // A number of seconds is no time.
        let is_duration = wanted.since.is_some();
        let is_document = wanted.pick.is_some() || wanted.decrypt.is_some();
        let form = if is_document {
            Form::of_document(&info, wanted.decrypt.is_some())
        } else {
            Form::of(field, &info)
        };
        let (form, template) = match form {
            Ok((Form::Time, _)) if is_duration => {
                self.problems.push(problem(
                    key,
                    "must be a number of seconds: `since` says from when",
                ));
                return Ok(None);
            }
            Ok(form) => form,
            Err(must) => {
                self.problems.push(problem(key, must));
                return Ok(None);
            }
        };
        let sql = template.replacen("{}", &raw, 1);
        let mut steps = Steps {
            decrypt: None,
            pick: wanted.pick.clone(),
            strip_prefix: wanted.strip_prefix.clone(),
            separator: wanted.separator.as_deref().and_then(|text| text.chars().next()),
        };
        let mut selected = value_limit::cut(form, &info, &wanted.expression, &raw, &sql);
        if let Some(decryption) = &wanted.decrypt {
            let Some(decryptor) = self.decryptor(key, decryption).await? else {
                return Ok(None);
            };
            if !decryption.companions.is_empty() {
                let Some(wire) = self.with_companions(key, form, &raw, &sql, decryption).await? else {
                    return Ok(None);
                };
                selected = value_limit::cut_computed(&wire);
            }
            steps.decrypt = Some(Decrypt {
                decryptor,
                companions: decryption
                    .companions
                    .iter()
                    .map(|(companion, _)| *companion)
                    .collect(),
            });
        }
        Ok(Some(Column {
            field,
            form,
            raw,
            sql,
            selected,
            position: 0,
            steps,
            since: None,
        }))
    }

    /// The type of an expression over the rows.
    async fn type_of(
        &mut self,
        key: &str,
        wanted: &Expression,
        sql: &str,
    ) -> Result<Option<PgTypeInfo>, SourceError> {
        let from = self.from;
        let noted = match types(self.connection, format!("select {sql} from {from} limit 0")).await? {
            Ok(found) => match found.into_iter().next() {
                Some(info) => return Ok(Some(info)),
                None => problem(key, "gives no value"),
            },
            Err(failure) => match wanted {
                Expression::Column(column) => missing_column(key, column, self.names),
                Expression::Sql(_) => {
                    problem(key, format!("is not an expression over these rows: {failure}"))
                }
            },
        };
        self.problems.push(noted);
        Ok(None)
    }

    /// A field that the database compares: it takes the value apart itself.
    async fn compared(
        &mut self,
        field: Field,
        key: &str,
        wanted: &Mapping,
        raw: &str,
        info: &PgTypeInfo,
    ) -> Result<Option<Column>, SourceError> {
        let mut taken = raw.to_owned();
        if let Some(Pick::Json(path)) = &wanted.pick {
            if !matches!(base_name(info).as_str(), "JSON" | "JSONB") {
                let must =
                    "must be json or jsonb: in other columns, a value that is no JSON would end the run";
                self.problems.push(problem(key, must));
                return Ok(None);
            }
            let names: Vec<String> = path.iter().map(|name| quote_literal(name)).collect();
            taken = format!(
                "(({raw})::pg_catalog.jsonb operator(pg_catalog.#>>) array[{}]::pg_catalog.text[])",
                names.join(", ")
            );
        }
        if let Some(prefix) = &wanted.strip_prefix {
            let (length, prefix) = (prefix.chars().count(), quote_literal(prefix));
            taken = format!(
                "(case when pg_catalog.left(({taken})::pg_catalog.text, {length}) operator(pg_catalog.=) {prefix} \
                 then pg_catalog.substr(({taken})::pg_catalog.text, {}) else ({taken})::pg_catalog.text end)",
                length + 1
            );
        }
        let computed = Expression::Sql(taken.clone());
        let Some(info) = self.type_of(key, &computed, &taken).await? else {
            return Ok(None);
        };
        match Form::of(field, &info) {
            Ok((form, template)) => {
                let sql = template.replacen("{}", &taken, 1);
                Ok(Some(Column {
                    field,
                    form,
                    selected: value_limit::cut(form, &info, &computed, &taken, &sql),
                    raw: taken,
                    sql,
                    position: 0,
                    steps: Steps::default(),
                    since: None,
                }))
            }
            Err(must) => {
                self.problems.push(problem(key, must));
                Ok(None)
            }
        }
    }

    /// The SQL of a value and its companions, all in base64, as one text.
    async fn with_companions(
        &mut self,
        key: &str,
        form: Form,
        raw: &str,
        sql: &str,
        decryption: &Decryption,
    ) -> Result<Option<String>, SourceError> {
        let encoded = |sql: &str, is_bytes: bool| {
            if is_bytes {
                format!("pg_catalog.encode({sql}, 'base64')")
            } else {
                let text = format!("({sql})::pg_catalog.text");
                format!("pg_catalog.encode(pg_catalog.convert_to({text}, 'UTF8'), 'base64')")
            }
        };
        let mut parts = vec![match form {
            Form::Bytes => encoded(raw, true),
            _ => encoded(sql, false),
        }];
        for (companion, wanted) in &decryption.companions {
            let raw = expression(wanted);
            let key = format!("{key}.{}", companion.name());
            let Some(info) = self.type_of(&key, wanted, &raw).await? else {
                return Ok(None);
            };
            let is_bytes = base_name(&info) == "BYTEA";
            let null = quote_literal(Wire::NULL);
            parts.push(format!("coalesce({}, {null})", encoded(&raw, is_bytes)));
        }
        let separator = quote_literal(&Wire::SEPARATOR.to_string());
        let joined = parts.join(&format!(
            " operator(pg_catalog.||) {separator} operator(pg_catalog.||) "
        ));
        Ok(Some(format!("({joined})")))
    }

    /// The decryptor, with the data keys that the database holds.
    async fn decryptor(
        &mut self,
        key: &str,
        decryption: &Decryption,
    ) -> Result<Option<Decryptor>, SourceError> {
        let Some(query) = &decryption.data_keys else {
            return Ok(Some(decryption.decryptor.clone()));
        };
        let known = self
            .data_keys
            .iter()
            .find(|(known, decryptor)| known == query && *decryptor == decryption.decryptor);
        if let Some((_, decryptor)) = known {
            return Ok(Some(decryptor.clone()));
        }
        let columns = match types(
            self.connection,
            format!("select * from ({query}\n) as keys limit 0"),
        )
        .await?
        {
            Ok(columns) => columns.len(),
            Err(failure) => {
                let must = format!("needs data keys, and their query cannot be run: {failure}");
                self.problems.push(problem(key, must));
                return Ok(None);
            }
        };
        if columns != 2 {
            let must = "needs data keys, and their query must give two columns: name and encrypted key";
            self.problems.push(problem(key, must));
            return Ok(None);
        }
        let sql = format!(
            "select name::pg_catalog.text, key::pg_catalog.text from ({query}\n) as keys (name, key) \
             where name is not null and key is not null"
        );
        let stored: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(sql))
            .fetch_all(&mut *self.connection)
            .await
            .map_err(|error| Failure::from(error).without_message())?;
        match decryption.decryptor.with_data_keys(&stored) {
            Ok(decryptor) => {
                self.data_keys.push((query.clone(), decryptor.clone()));
                Ok(Some(decryptor))
            }
            Err(_) => {
                let must = "needs data keys, and one that the database holds cannot be opened: check `keys` of its format";
                self.problems.push(problem(key, must));
                Ok(None)
            }
        }
    }
}
