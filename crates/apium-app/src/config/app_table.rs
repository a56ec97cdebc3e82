//! The table `[app]` of `apium.toml`. It is the program's own: Apium stores it, lets variables override it, and reads
//! it into the program's type. Its values are never printed.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;

use crate::config::app_value::{AppContent, AppError, AppValue};
use crate::config::value::{Origin, Value};
use crate::error::{Error, ErrorKind, Result};

/// The table's name in a file, and where the names of its entries begin in flags and errors.
pub(crate) const NAME: &str = "app";

/// The table as it was given, and the entries of variables and flags, which win over it.
#[derive(Clone, Default)]
pub(crate) struct AppTable {
    table: Option<(Vec<(String, Value)>, Origin)>,
    entries: BTreeMap<Vec<String>, (String, Origin)>,
}

impl AppTable {
    /// Sets the whole table, unless one of a stronger origin is there.
    pub(crate) fn set(&mut self, value: Value, origin: Origin) -> Result<()> {
        match value {
            Value::Table(_) if origin.is_text() => Err(wrong_form(&origin)),
            Value::Table(entries) => {
                self.put(entries, origin);
                Ok(())
            }
            Value::Text(_) if origin.is_text() => Err(wrong_form(&origin)),
            other => {
                let text = format!("use {NAME} of {origin}: it is {}, allowed is a table: [{NAME}]", other.kind());
                Err(Error::new(ErrorKind::Config, text))
            }
        }
    }

    fn put(&mut self, entries: Vec<(String, Value)>, origin: Origin) {
        match &self.table {
            Some((_, present)) if present.rank() > origin.rank() => {}
            _ => self.table = Some((entries, origin)),
        }
    }

    /// Sets one entry by the names that lead to it.
    pub(crate) fn set_entry(&mut self, path: Vec<String>, text: String, origin: Origin) -> Result<()> {
        if path.iter().any(String::is_empty) {
            return Err(wrong_form(&origin));
        }
        match self.entries.get(&path) {
            Some((_, present)) if present.rank() > origin.rank() => {}
            _ => {
                self.entries.insert(path, (text, origin));
            }
        }
        Ok(())
    }

    /// Adds all of `other`, which wins where the origins are equal.
    pub(crate) fn merge(&mut self, other: Self) {
        if let Some((entries, origin)) = other.table {
            self.put(entries, origin);
        }
        for (path, (text, origin)) in other.entries {
            match self.entries.get(&path) {
                Some((_, present)) if present.rank() > origin.rank() => {}
                _ => {
                    self.entries.insert(path, (text, origin));
                }
            }
        }
    }

    /// The table as the type of the program.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(self.merged()).map_err(|wrong| describe(&wrong))
    }

    /// The table with the entries that win over it.
    fn merged(&self) -> AppValue {
        let mut merged = match &self.table {
            Some((entries, origin)) => AppValue::new(&Value::Table(entries.clone()), origin),
            None if self.entries.is_empty() => AppValue { content: AppContent::None, origin: None },
            None => AppValue { content: AppContent::Table(Vec::new()), origin: None },
        };
        for (path, (text, origin)) in &self.entries {
            let entry = AppValue { content: AppContent::Unread(text.clone()), origin: Some(origin.clone()) };
            merged.put(path, entry);
        }
        merged
    }

    /// The table as it may be printed, where there is one: the names of its entries, and where they came from.
    pub(crate) fn shown(&self) -> Option<(String, String)> {
        let of_table = self.table.as_ref().map(|(_, origin)| origin);
        let origin = of_table.or_else(|| self.entries.values().next().map(|(_, origin)| origin))?;
        Some((self.names().join(", "), origin.to_string()))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.table.iter().flat_map(|(entries, _)| entries).map(|(n, _)| n.clone()).collect();
        for name in self.entries.keys().filter_map(|path| path.first()) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

impl fmt::Debug for AppTable {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

fn wrong_form(origin: &Origin) -> Error {
    let how = match origin {
        Origin::Variable(_) => "name one entry of it: APIUM_APP__NAME, or APIUM_APP__TABLE__NAME",
        _ => "name one entry of it: app.name=value, or app.table.name=value",
    };
    Error::new(ErrorKind::Config, format!("use the table [{NAME}] of {origin}: {how}"))
}

fn describe(wrong: &AppError) -> Error {
    let path = [NAME].into_iter().chain(wrong.path.iter().map(String::as_str)).collect::<Vec<_>>().join(".");
    let origin = wrong.origin.as_ref().map_or_else(|| "the settings".to_owned(), ToString::to_string);
    let mut text = format!("read {path} of {origin}: {}", wrong.text);
    if wrong.is_missing {
        let variable = path.to_uppercase().replace('.', "__");
        text.push_str(&format!("; write it in the table [{NAME}] of apium.toml, or set APIUM_{variable}"));
    }
    Error::new(ErrorKind::Config, text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::IpAddr;

    use serde::Deserialize;

    use crate::config::settings::Settings;
    use crate::config::value::Value;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Shop {
        name: String,
        smtp: Smtp,
        #[serde(default)]
        admins: Vec<String>,
        #[serde(default)]
        limits: HashMap<String, f64>,
        mode: Option<Mode>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Smtp {
        host: IpAddr,
        port: u16,
        password: Option<String>,
        #[serde(default)]
        tls: bool,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Open,
        Closed(u8),
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct WithDefaults {
        retries: u32,
    }

    const FILE: &str = "task_acks_late = true\n[app]\nname = 'books'\nadmins = ['a', 'b']\nlimits = { day = 5, hour = 0.5 }\n\
                        mode = 'open'\n[app.smtp]\nhost = '::1'\nport = 25\npassword = 'hunter2'\n";

    fn settings(toml: &str, variables: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new();
        settings.add_toml(toml, "apium.toml").unwrap();
        settings.add_env(variables.iter().copied()).unwrap();
        settings
    }

    fn error<T: serde::de::DeserializeOwned + std::fmt::Debug>(settings: &Settings) -> String {
        let error = settings.app::<T>().unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Config);
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2"), "{text}");
        error.to_string()
    }

    #[test]
    fn the_table_is_read_into_the_type_of_the_program() {
        let settings = settings(FILE, &[]);
        let shop: Shop = settings.app().unwrap();
        assert_eq!((&*shop.name, &*shop.admins), ("books", &["a".to_owned(), "b".to_owned()][..]));
        assert_eq!((shop.limits["day"], shop.limits["hour"]), (5.0, 0.5));
        assert_eq!((shop.smtp.port, shop.smtp.password.as_deref(), shop.smtp.tls), (25, Some("hunter2"), false));
        assert_eq!(shop.mode, Some(Mode::Open));
        let config = settings.check().unwrap();
        assert!(config.task_acks_late);
        assert_eq!(config.app::<Shop>().unwrap(), shop);
    }

    #[test]
    fn variables_and_flags_win_and_are_read_by_the_type_of_their_field() {
        let mut settings = settings(
            FILE,
            &[
                ("APIUM_APP__SMTP__PORT", "587"),
                ("APIUM_APP__SMTP__TLS", "yes"),
                ("APIUM_APP__SMTP__PASSWORD", ""),
                ("APIUM_APP__ADMINS", "x, y"),
                ("APIUM_APP__LIMITS", r#"{"week": 7}"#),
                ("APIUM_APP__NAME", "42"),
            ],
        );
        settings.set_flag("app.name", "43", "--set").unwrap();
        let shop: Shop = settings.app().unwrap();
        assert_eq!((shop.smtp.port, shop.smtp.tls, shop.smtp.password), (587, true, None));
        assert_eq!((&*shop.name, &*shop.admins), ("43", &["x".to_owned(), "y".to_owned()][..]));
        assert_eq!(shop.limits, HashMap::from([("week".to_owned(), 7.0)]));
        let mut of_builder = Settings::new();
        of_builder.set("app", serde_json::json!({ "name": "mine", "mode": { "closed": 3 } })).unwrap();
        of_builder.add_env([("APIUM_APP__SMTP__HOST", "::1"), ("APIUM_APP__SMTP__PORT", "1")]).unwrap();
        assert_eq!(of_builder.app::<Shop>().unwrap().mode, Some(Mode::Closed(3)));
        of_builder.merge(settings);
        assert_eq!(of_builder.app::<Shop>().unwrap().name, "43", "a file wins over the builder");
    }

    #[test]
    fn without_a_table_the_type_decides() {
        let settings = settings("", &[]);
        assert_eq!(settings.app::<WithDefaults>().unwrap(), WithDefaults::default());
        assert_eq!(settings.app::<Option<Shop>>().unwrap(), None);
        assert_eq!(
            error::<Shop>(&settings),
            "read app.name of the settings: it is missing; write it in the table [app] of apium.toml, or set \
             APIUM_APP__NAME"
        );
        assert!(
            settings_with("retries = 2").app::<Option<WithDefaults>>().unwrap().is_some_and(|own| own.retries == 2)
        );
    }

    fn settings_with(entries: &str) -> Settings {
        settings(&format!("[app]\n{entries}"), &[])
    }

    #[test]
    fn an_error_names_file_key_and_what_is_expected_and_no_value() {
        let start = "name = 'x'\nsmtp = { host = '::1', port = 1 }\n";
        for (entries, wanted) in [
            ("name = 'x'\nsmtp.port = 1", "read app.smtp.host of the file apium.toml: it is missing; write it in the "),
            (
                "name = 'x'\nsmtp = { host = '::1', port = 'hunter2' }",
                "read app.smtp.port of the file apium.toml: it is a text, allowed is u16",
            ),
            (
                "name = 'x'\nsmtp = { host = '::1', port = 70000 }",
                "app.smtp.port of the file apium.toml: it is a whole number that does not fit, allowed is u16",
            ),
            ("name = 'x'\nsmtp = { host = 'hunter2', port = 1 }", "app.smtp.host of the file apium.toml: "),
            ("name = ['hunter2']\nsmtp = {}", "app.name of the file apium.toml: it is a list, allowed is a string"),
            (
                &format!("{start}nmae = 'hunter2'"),
                "app.nmae of the file apium.toml: there is none of that name; did you mean name?",
            ),
            (
                &format!("{start}mode = 'hunter2'"),
                "app.mode of the file apium.toml: it is a text, allowed is one of open, closed",
            ),
            (
                &format!("{start}admins = ['a', 5]"),
                "app.admins.1 of the file apium.toml: it is a whole number, allowed is a string",
            ),
            (
                &format!("{start}limits = {{ day = 'hunter2' }}"),
                "app.limits.day of the file apium.toml: it is a text, allowed is f64",
            ),
        ] {
            let text = error::<Shop>(&settings_with(entries));
            assert!(text.contains(wanted), "{text}");
        }
        let variable = settings(FILE, &[("APIUM_APP__SMTP__PORT", "hunter2")]);
        assert_eq!(
            error::<Shop>(&variable),
            "read app.smtp.port of the environment variable APIUM_APP__SMTP__PORT: it is a text, allowed is u16"
        );
    }

    #[test]
    fn what_is_no_table_or_names_no_entry_is_refused() {
        let mut settings = Settings::new();
        for refused in [
            settings.add_toml("app = 'hunter2'", "apium.toml"),
            settings.add_env([("APIUM_APP", "hunter2")]),
            settings.add_env([("APIUM_APP__", "hunter2")]),
            settings.add_env([("APIUM_APP__SMTP__", "hunter2")]),
            settings.set_flag("app", "hunter2", "--set"),
            settings.set("app", Value::from(["hunter2"])),
        ] {
            let text = refused.unwrap_err().to_string();
            assert!(text.contains("[app]") && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn neither_the_settings_in_effect_nor_the_report_shows_a_value() {
        let settings = settings(FILE, &[("APIUM_APP__TOKEN", "hunter2")]);
        let config = settings.check().unwrap();
        let shown: Vec<_> = config.changed().filter(|shown| shown.name == "app").collect();
        assert_eq!(shown[0].shown, "name, admins, limits, mode, smtp, token");
        assert_eq!(shown[0].origin, "the file apium.toml");
        assert!(!format!("{settings:?} {config:?} {shown:?}").contains("hunter2"));
    }
}
