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
    /// The columns that prose may fill.
    pub(crate) width: usize,
    /// How full folders are.
    pub(crate) folders: Folders,
    /// The crates beside the rule of a driver's rooms, each with its reason.
    pub(crate) not_drivers: Reasons,
    /// The rooms of each crate that has some.
    pub(crate) rooms: BTreeMap<String, Rooms>,
    /// The files that a newcomer reads.
    pub(crate) walk: Walk,
    /// The words that names must not have.
    pub(crate) words: Words,
    /// The types of other crates that users see, as `crate::Type`, each with its reason.
    pub(crate) foreign_types: Reasons,
    /// Those that only other crates of the house see.
    pub(crate) foreign_inside: Reasons,
    /// The types of the facade that never grow, each with its reason.
    pub(crate) complete: Reasons,
    /// The types that more than one crate may have, each with its reason.
    pub(crate) same_in_crates: Reasons,
    /// The types that a crate may have more than once, as `crate: Type`, each with its reason.
    pub(crate) same_in_crate: Reasons,
    /// How many crates a program that only calls tasks may have.
    pub(crate) producer: usize,
    /// Words for what is not in the repository, each with what to write.
    pub(crate) outside: Reasons,
}

/// Names with a reason, or with what to say instead.
pub(crate) type Reasons = BTreeMap<String, String>;

/// How many files a folder may hold.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    /// The fewest.
    pub(crate) least: usize,
    /// The most.
    pub(crate) most: usize,
    /// Folders that hold fewer, each with its reason.
    pub(crate) small: Reasons,
}

/// The rooms of a crate: the folders below its `src`.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    /// From the ground up.
    pub(crate) order: Vec<String>,
    /// The imports that go up all the same, as `room/file -> room`, each with its reason.
    pub(crate) up: Reasons,
}

/// The files that a newcomer reads, in the order in which a message passes them.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Their paths from the root.
    pub(crate) files: Vec<String>,
    /// How many there may be.
    pub(crate) most: usize,
    /// How many lines they may have in all, up to their tests.
    pub(crate) lines: usize,
}

/// The words that names must not have.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// No part of a name, each with what to say instead.
    pub(crate) never: Reasons,
    /// Not the whole of a name, each with what to say instead.
    pub(crate) alone: Reasons,
    /// The words of one crate, which no other may use.
    pub(crate) only: BTreeMap<String, OneCrate>,
    /// What has such a word all the same, as a path or as `path: name`, each with its reason.
    pub(crate) allowed: Reasons,
}

/// A word that belongs to one crate.
#[derive(Debug, Default)]
pub(crate) struct OneCrate {
    /// The crate.
    pub(crate) owner: String,
    /// What others say.
    pub(crate) instead: String,
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
        layers.limit = required(&table, "size", "limit")?;
        for (path, lines) in sub(&table, "size", "over") {
            layers.over.insert(path.clone(), number(lines).ok_or_else(|| odd(&format!("the size of {path}")))?);
        }
        layers.width = required(&table, "width", "limit")?;
        layers.folders = Folders {
            least: required(&table, "folders", "least")?,
            most: required(&table, "folders", "most")?,
            small: reasons(sub(&table, "folders", "small"))?,
        };
        layers.not_drivers = reasons(sub(&table, "drivers", "exempt"))?;
        for (name, value) in entries(&table, "rooms") {
            let up = value.get("up").and_then(Value::as_table).into_iter().flatten();
            layers.rooms.insert(name.clone(), Rooms { order: texts(value, "order"), up: reasons(up)? });
        }
        layers.walk = Walk {
            files: table.get("walk").map(|walk| texts(walk, "files")).unwrap_or_default(),
            most: required(&table, "walk", "most")?,
            lines: required(&table, "walk", "lines")?,
        };
        layers.producer = required(&table, "producer", "most")?;
        layers.words = words(&table)?;
        layers.foreign_types = reasons(sub(&table, "foreign", "types"))?;
        layers.foreign_inside = reasons(sub(&table, "foreign", "inside"))?;
        layers.complete = reasons(entries(&table, "complete"))?;
        layers.same_in_crates = reasons(sub(&table, "same", "in_crates"))?;
        layers.same_in_crate = reasons(sub(&table, "same", "in_crate"))?;
        layers.outside = reasons(entries(&table, "outside"))?;
        Ok(layers)
    }
}

fn words(table: &Table) -> Result<Words, String> {
    let mut words = Words {
        never: reasons(sub(table, "words", "never"))?,
        alone: reasons(sub(table, "words", "alone"))?,
        only: BTreeMap::new(),
        allowed: reasons(sub(table, "words", "allowed"))?,
    };
    for (word, value) in sub(table, "words", "only") {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let (Some(owner), Some(instead)) = (text("crate"), text("instead")) else {
            return Err(odd(&format!("the crate and the replacement of {word}")));
        };
        words.only.insert(word.clone(), OneCrate { owner, instead });
    }
    Ok(words)
}

/// The entries of a table of the file.
fn entries<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    table.get(key).and_then(Value::as_table).into_iter().flatten()
}

/// The entries of a table inside a table of the file.
fn sub<'a>(table: &'a Table, outer: &str, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    table.get(outer).and_then(|outer| outer.get(key)).and_then(Value::as_table).into_iter().flatten()
}

/// Entries whose values are sentences; one without is refused.
fn reasons<'a>(entries: impl Iterator<Item = (&'a String, &'a Value)>) -> Result<Reasons, String> {
    let reason = |value: &Value| value.as_str().filter(|reason| !reason.trim().is_empty()).map(str::to_owned);
    entries
        .map(|(name, value)| {
            reason(value).map(|reason| (name.clone(), reason)).ok_or_else(|| odd(&format!("the reason of {name}")))
        })
        .collect()
}

fn required(table: &Table, outer: &str, key: &str) -> Result<usize, String> {
    table.get(outer).and_then(|outer| outer.get(key)).and_then(number).ok_or_else(|| odd(&format!("{outer}.{key}")))
}

fn odd(what: &str) -> String {
    format!("read layers.toml: {what} is missing or of another kind")
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    let list = value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn number(value: &Value) -> Option<usize> {
    value.as_integer().and_then(|number| usize::try_from(number).ok())
}

#[cfg(test)]
const LIMITS: &str = "[size]\nlimit = 3\n[width]\nlimit = 20\n[folders]\nleast = 2\nmost = 3\n\
                      [producer]\nmost = 2\n[walk]\nmost = 2\nlines = 4\n";

#[cfg(test)]
impl Layers {
    /// Reads `text` behind small limits, for the tests of the rules.
    pub(crate) fn of_test(text: &str) -> Self {
        Self::parse(&format!("{LIMITS}{text}")).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_read() {
        let layers = Layers::of_test(
            "files = [\"x.rs\"]\n\
             [floors]\na = 0\n[beside]\nm = { uses = [], by = [\"a\"] }\nh = {}\n[absent.a]\ncrates = [\"tokio\"]\n\
             [size.over]\n\"x.rs\" = 12\n[folders.small]\n\"a/src\" = \"tiny\"\n[drivers.exempt]\na = \"kit\"\n\
             [rooms.a]\norder = [\"low\", \"high\"]\n[rooms.a.up]\n\"low/f -> high\" = \"why\"\n\
             [words.never]\nvague = \"clear\"\n[words.alone]\nthing = \"name\"\n[words.allowed]\nThing = \"wire\"\n\
             [words.only]\ntick = { crate = \"a\", instead = \"pulse\" }\n[same.in_crates]\nState = \"one idea\"\n[same.in_crate]\n\"a: State\" = \"two\"\n\
             [outside]\nPLAN = \"say it\"\n[foreign.types]\n\"bytes::Bytes\" = \"slices\"\n[foreign.inside]\n\"a::B\" = \"c\"\n\
             [complete]\nWhole = \"fixed\"\n",
        );
        assert_eq!((&*layers.foreign_types["bytes::Bytes"], &*layers.foreign_inside["a::B"]), ("slices", "c"));
        assert_eq!((layers.floors["a"], &*layers.complete["Whole"]), (0, "fixed"));
        assert_eq!(layers.beside["m"].uses.as_deref(), Some(&[][..]));
        assert_eq!(layers.beside["m"].by, ["a"]);
        assert!(layers.beside["h"].uses.is_none());
        assert_eq!(layers.absent["a"].crates, ["tokio"]);
        assert_eq!((layers.limit, layers.over["x.rs"], layers.width), (3, 12, 20));
        assert_eq!((layers.folders.least, layers.folders.most, &*layers.folders.small["a/src"]), (2, 3, "tiny"));
        assert_eq!((&*layers.not_drivers["a"], &*layers.same_in_crate["a: State"]), ("kit", "two"));
        assert_eq!((layers.rooms["a"].order.len(), &*layers.rooms["a"].up["low/f -> high"]), (2, "why"));
        assert_eq!((&*layers.walk.files[0], layers.walk.most, layers.walk.lines), ("x.rs", 2, 4));
        assert_eq!(layers.producer, 2);
        assert_eq!((&*layers.words.never["vague"], &*layers.words.alone["thing"]), ("clear", "name"));
        assert_eq!((&*layers.words.only["tick"].owner, &*layers.words.only["tick"].instead), ("a", "pulse"));
        assert_eq!(
            (&*layers.words.allowed["Thing"], &*layers.same_in_crates["State"], &*layers.outside["PLAN"]),
            ("wire", "one idea", "say it")
        );
    }

    #[test]
    fn what_is_missing_or_odd_is_refused() {
        assert!(Layers::parse("[size]\nlimit = 1\n").unwrap_err().contains("width.limit"));
        assert!(Layers::parse(LIMITS).is_ok());
        assert!(Layers::parse(&format!("{LIMITS}[floors]\na = \"x\"\n")).is_err());
        assert!(Layers::parse(&format!("{LIMITS}[same.in_crates]\nState = \" \"\n")).unwrap_err().contains("State"));
        assert!(Layers::parse(&format!("{LIMITS}[words.only]\ntick = {{ crate = \"a\" }}\n")).is_err());
    }
}
