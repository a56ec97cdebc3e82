//! The command line of the quickstart, and the folder of its data.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apium::prelude::BoxError;

pub(crate) const HELP: &str =
    "Indexes the words of a folder with tasks on an embedded queue. It needs no server and no configuration.

Usage: quickstart [FOLDER] [--data DIR] [--pace MS]

  FOLDER      the text to index [default: the Markdown and Rust files of this repository]
  --data DIR  the folder of queue, results and state of the run [default: the platform's data folder]
  --pace MS   how long a task sleeps after each piece of a file, so that you can watch it [default: 15]

Stop it half-way with ctrl-c or kill -9 and start it again: it resumes the run.";

pub(crate) struct Options {
    /// The folder to index.
    pub(crate) folder: PathBuf,
    /// Whether it was named; then every text file in it is indexed.
    pub(crate) named: bool,
    /// The folder of queue, results and the state of the run.
    pub(crate) data: PathBuf,
    /// The pause after each piece of a file.
    pub(crate) pace: Duration,
}

impl Options {
    /// Reads the command line; `None` when help was asked for.
    pub(crate) fn read(words: impl Iterator<Item = String>) -> Result<Option<Self>, BoxError> {
        let (mut folder, mut data, mut pace) = (None, None, 15);
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value; see --help"));
            match &*word {
                "-h" | "--help" => return Ok(None),
                "--data" => data = Some(PathBuf::from(value()?)),
                "--pace" => pace = value()?.parse().map_err(|_| "--pace needs a number of milliseconds; see --help")?,
                option if option.starts_with('-') => return Err(format!("unknown option {option}; see --help").into()),
                _ if folder.is_some() => return Err("more than one folder was named; see --help".into()),
                _ => folder = Some(PathBuf::from(&word)),
            }
        }
        let data = data.map_or_else(data_folder, Ok)?;
        let named = folder.is_some();
        let folder = folder.unwrap_or_else(repository);
        let folder = folder
            .canonicalize()
            .map_err(|error| format!("could not open the folder {}: {error}", folder.display()))?;
        Ok(Some(Self { folder, named, data, pace: Duration::from_millis(pace) }))
    }
}

/// The repository in which this example was built, or the current folder when that is gone. It is built by two
/// packages, so the root is looked for.
fn repository() -> PathBuf {
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    above.find(|folder| folder.join("layers.toml").is_file()).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// The platform's folder for the data of a program.
fn data_folder() -> Result<PathBuf, BoxError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || variable("HOME").ok_or("there is no HOME; name a folder with --data");
    let parent = if cfg!(windows) {
        variable("LOCALAPPDATA")
            .or_else(|| variable("APPDATA"))
            .ok_or("there is no LOCALAPPDATA; name a folder with --data")?
    } else if cfg!(target_os = "macos") {
        home()?.join("Library/Application Support")
    } else {
        match variable("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
            Some(path) => path,
            None => home()?.join(".local/share"),
        }
    };
    Ok(parent.join("apium-quickstart"))
}
