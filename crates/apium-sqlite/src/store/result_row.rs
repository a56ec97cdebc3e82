//! Results as rows: ids, their keys, and results that are encoded before they reach the writer thread.

use apium_protocol::message::task_id::TaskId;
use apium_transport::backend::backend::ResultRecord;
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use uuid::Uuid;

/// A task id as it is stored: a UUID in its usual spelling as 16 bytes, any other id as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Id {
    Uuid(Uuid),
    Text(TaskId),
}

impl Id {
    pub(crate) fn new(id: &TaskId) -> Self {
        let text = id.as_str();
        // Only the spelling that comes out again when the UUID is written as text.
        let usual = text.len() == 36 && !text.bytes().any(|b| b.is_ascii_uppercase());
        match usual.then(|| Uuid::try_parse(text)) {
            Some(Ok(uuid)) => Self::Uuid(uuid),
            _ => Self::Text(id.clone()),
        }
    }

    /// 64 bits of the id. Two ids may have the same ones.
    pub(crate) fn key(&self) -> i64 {
        let (high, low) = match self {
            Self::Uuid(uuid) => uuid.as_u64_pair(),
            Self::Text(text) => Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_str().as_bytes()).as_u64_pair(),
        };
        (high ^ low.rotate_left(32)).cast_signed()
    }

    /// Whether a column holds this id.
    pub(crate) fn is(&self, column: ValueRef<'_>) -> bool {
        match (self, column) {
            (Self::Uuid(uuid), ValueRef::Blob(bytes)) => uuid.as_bytes() == bytes,
            (Self::Text(text), ValueRef::Text(bytes)) => text.as_str().as_bytes() == bytes,
            _ => false,
        }
    }
}

impl ToSql for Id {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Uuid(uuid) => ValueRef::Blob(uuid.as_bytes()),
            Self::Text(text) => ValueRef::Text(text.as_str().as_bytes()),
        }))
    }
}

/// The id that a column holds.
pub(crate) fn id_of_column(column: Value) -> Option<TaskId> {
    match column {
        Value::Blob(bytes) => Uuid::from_slice(&bytes).ok().map(|uuid| uuid.to_string().into()),
        Value::Text(text) => Some(text.into()),
        _ => None,
    }
}

/// A result to be written, with its document encoded.
#[derive(Debug)]
pub(crate) struct ResultRow {
    pub(crate) record: ResultRecord,
    pub(crate) id: Id,
    pub(crate) key: i64,
    pub(crate) json: Vec<u8>,
}

impl From<ResultRecord> for ResultRow {
    fn from(record: ResultRecord) -> Self {
        let id = Id::new(&record.document.task_id);
        Self { key: id.key(), json: record.document.to_json(), record, id }
    }
}

#[cfg(test)]
mod tests {
    use apium_protocol::message::task_id::TaskId;
    use rusqlite::ToSql;
    use rusqlite::types::{ToSqlOutput, Value};

    use super::{Id, id_of_column};

    #[test]
    fn every_id_comes_back_as_it_was_spelled() {
        for text in [
            "",
            "my-id",
            "6f1c8f0e-5b0f-4a53-9d2c-3f1f0a9b8c7d",
            "6F1C8F0E-5B0F-4A53-9D2C-3F1F0A9B8C7D",
            "6f1c8f0e5b0f4a539d2c3f1f0a9b8c7d",
            "{6f1c8f0e-5b0f-4a53-9d2c-3f1f0a9b8c7d}",
            "ä/ö",
        ] {
            let id = Id::new(&TaskId::from(text));
            let ToSqlOutput::Borrowed(column) = id.to_sql().unwrap() else { panic!("borrowed") };
            assert!(id.is(column), "{text}");
            assert_eq!(id_of_column(Value::try_from(column).unwrap()), Some(TaskId::from(text)));
            assert_eq!(id.key(), Id::new(&TaskId::from(text)).key());
        }
        assert!(matches!(Id::new(&TaskId::random()), Id::Uuid(_)));
    }
}
