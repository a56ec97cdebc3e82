//! Reads `docs/guide-rows.toml`, the rows of Celery's task guide.

use toml::{Table, Value};

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its number: `0.09`.
    pub(crate) number: String,
    /// What the guide says, in a few words.
    pub(crate) title: String,
    /// Why it needs no test yet.
    pub(crate) excused: Option<String>,
    /// Which part of it comes later.
    pub(crate) later: Option<String>,
}

impl Row {
    /// The start of the names of its tests: `guide_0_09_`.
    pub(crate) fn prefix(&self) -> String {
        format!("guide_{}_", self.number.replace('.', "_"))
    }
}

/// Reads the rows, sorted by number.
pub(crate) fn rows(text: &str) -> Result<Vec<Row>, String> {
    let table: Table = text.parse().map_err(|e| format!("read docs/guide-rows.toml: {e}"))?;
    let part = |name: &str| table.get(name).and_then(Value::as_table).cloned().unwrap_or_default();
    let (titles, excused, later) = (part("rows"), part("excused"), part("later"));
    if let Some(number) = excused.keys().chain(later.keys()).find(|number| !titles.contains_key(number.as_str())) {
        return Err(format!("read docs/guide-rows.toml: there is no row {number} to excuse"));
    }
    let word = |table: &Table, number: &str| table.get(number).and_then(Value::as_str).map(str::to_owned);
    let mut rows: Vec<Row> = titles
        .keys()
        .map(|number| Row {
            number: number.clone(),
            title: word(&titles, number).unwrap_or_default(),
            excused: word(&excused, number),
            later: word(&later, number),
        })
        .collect();
    rows.sort_by(|a, b| a.number.cmp(&b.number));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_with_their_excuses() {
        let rows = rows("[rows]\n\"0.02\" = \"b\"\n\"0.01\" = \"a\"\n[excused]\n\"0.02\" = \"later\"\n").unwrap();
        assert_eq!(rows[0].prefix(), "guide_0_01_");
        assert_eq!((rows[1].title.as_str(), rows[1].excused.as_deref()), ("b", Some("later")));
    }

    #[test]
    fn an_excuse_for_no_row_is_refused() {
        assert!(rows("[rows]\n\"0.01\" = \"a\"\n[excused]\n\"0.03\" = \"x\"\n").is_err());
    }
}
