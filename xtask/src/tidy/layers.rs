//! Reads `layers.toml`.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::files::File;

/// What `layers.toml` says.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// The floor of each crate of the house.
    pub(crate) floors: BTreeMap<String, i64>,
    /// The crates beside the house.
    pub(crate) beside: BTreeMap<String, Beside>,
    /// What must not appear, by crate or by path.
    pub(crate) absent: BTreeMap<String, Absent>,
    /// The lines a file may have.
    pub(crate) limit: usize,
    /// Files over the limit with their length.
    pub(crate) over: BTreeMap<String, usize>,
}

/// A crate beside the house.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// The crates of the workspace it may use; any where this is not said.
    pub(crate) uses: Option<Vec<String>>,
    /// The crates that may use it.
    pub(crate) by: Vec<String>,
}

/// What must not appear in a crate or file.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    /// Foreign crates.
    pub(crate) crates: Vec<String>,
    /// Words in the code.
    pub(crate) words: Vec<String>,
}

impl Layers {
    /// Finds and reads `layers.toml` among `files`.
    pub(crate) fn read(files: &[File]) -> Result<Self, String> {
        let file = files.iter().find(|file| file.path == "layers.toml").ok_or("find layers.toml in the root")?;
        Self::parse(&file.text)
    }

    /// Reads the text of the file.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|e| format!("read layers.toml: {e}"))?;
        let mut layers = Self::default();
        for (name, floor) in entries(&table, "floors") {
            let floor =
                floor.as_integer().ok_or_else(|| format!("read layers.toml: the floor of {name} is no number"))?;
            layers.floors.insert(name.clone(), floor);
        }
        for (name, value) in entries(&table, "beside") {
            let uses = value.get("uses").map(|_| texts(value, "uses"));
            layers.beside.insert(name.clone(), Beside { uses, by: texts(value, "by") });
        }
        for (name, value) in entries(&table, "absent") {
            let absent = Absent { crates: texts(value, "crates"), words: texts(value, "words") };
            layers.absent.insert(name.clone(), absent);
        }
        let size = table.get("size").ok_or("read layers.toml: [size] is missing")?;
        layers.limit = number(size.get("limit")).ok_or("read layers.toml: size.limit is no number")?;
        if let Some(over) = size.get("over").and_then(Value::as_table) {
            for (path, lines) in over {
                let lines =
                    number(Some(lines)).ok_or_else(|| format!("read layers.toml: the size of {path} is no number"))?;
                layers.over.insert(path.clone(), lines);
            }
        }
        Ok(layers)
    }
}

fn entries<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    table.get(key).and_then(Value::as_table).into_iter().flatten()
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    let list = value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn number(value: Option<&Value>) -> Option<usize> {
    value.and_then(Value::as_integer).and_then(|number| usize::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_read() {
        let layers = Layers::parse(
            "[floors]\na = 0\n[beside]\nm = { uses = [], by = [\"a\"] }\nh = {}\n[absent.a]\ncrates = [\"tokio\"]\n\
             [size]\nlimit = 10\n[size.over]\n\"x.rs\" = 12\n",
        )
        .unwrap();
        assert_eq!(layers.floors["a"], 0);
        assert_eq!(layers.beside["m"].uses.as_deref(), Some(&[][..]));
        assert_eq!(layers.beside["m"].by, ["a"]);
        assert!(layers.beside["h"].uses.is_none());
        assert_eq!(layers.absent["a"].crates, ["tokio"]);
        assert_eq!((layers.limit, layers.over["x.rs"]), (10, 12));
    }

    #[test]
    fn a_floor_that_is_no_number_is_refused() {
        assert!(Layers::parse("[floors]\na = \"x\"\n[size]\nlimit = 1\n").is_err());
    }
}
