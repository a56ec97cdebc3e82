//! Settings as the command line finds them: the file, the environment, the options. A later one of these wins, and each
//! wins over what the program's own function sets.

use std::path::{Path, PathBuf};

use apium_app::config::settings::Settings;

use crate::args::Global;
use crate::exit::{Code, CommandError, Result};

/// The settings file that is read when none is named.
const DEFAULT_FILE: &str = "apium.toml";
/// The variable that names another.
const FILE_VARIABLE: &str = "APIUM_CONFIG";

/// Reads the file, the environment and the global options.
pub(crate) fn read(global: &Global) -> Result<Settings> {
    let mut settings = Settings::new();
    if let Some(file) = file(global)? {
        settings.load_file(&file)?;
    }
    settings.load_env()?;
    if let Some(url) = &global.broker {
        settings.set_flag("broker_url", url, "--broker")?;
    }
    if let Some(url) = &global.result_backend {
        settings.set_flag("result_backend", url, "--result-backend")?;
    }
    for setting in &global.settings {
        let (name, value) = setting.split_once('=').ok_or_else(|| {
            CommandError::usage(format!("read --set {setting:?}: there is no `=`"))
                .hint("write it as --set task_acks_late=true")
        })?;
        settings.set_flag(name.trim(), value.trim(), "--set")?;
    }
    Ok(settings)
}

/// The file to read: the one that was named, which must be there, or the default, which need not.
fn file(global: &Global) -> Result<Option<PathBuf>> {
    let named = global
        .config
        .clone()
        .or_else(|| std::env::var_os(FILE_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from));
    match named {
        Some(file) if file.is_file() => Ok(Some(file)),
        Some(file) => Err(CommandError::new(
            Code::Usage,
            format!("read the settings file {}: there is no such file", file.display()),
        )),
        None => Ok(Path::new(DEFAULT_FILE).is_file().then(|| DEFAULT_FILE.into())),
    }
}
