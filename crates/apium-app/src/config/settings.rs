//! Settings as given, each with the place it came from, before they are checked.

use std::collections::BTreeMap;
use std::path::Path;

use apium_transport::address::Address;
use serde::de::DeserializeOwned;

use crate::config::app_table::{self, AppTable};
use crate::config::read::{FromValue, InvalidValue, hint};
use crate::config::table::{Config, SETTINGS, Setting, ShownSetting};
use crate::config::value::{Origin, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::task::foreign::ForeignTask;

/// Settings as they were given. A flag wins over a variable, a variable over a file, a file over the builder, and the
/// builder over the default, in whatever order they are added. Of two values from the same origin the last one wins.
#[derive(Clone, Default)]
pub struct Settings {
    given: BTreeMap<&'static str, (Value, Origin)>,
    app: AppTable,
    foreign: Vec<ForeignTask>,
}

impl Settings {
    /// No settings: all defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file `apium.toml` of the current folder, where there is one, and the variables `APIUM_*` of this process.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown name.
    pub fn load() -> Result<Self> {
        let mut settings = Self::new();
        let file = Path::new("apium.toml");
        if file.is_file() {
            settings.load_file(file)?;
        }
        settings.load_env()?;
        Ok(settings)
    }

    /// Adds the variables `APIUM_*` of this process.
    ///
    /// # Errors
    /// See [`add_env`](Self::add_env).
    pub fn load_env(&mut self) -> Result<()> {
        self.add_env(std::env::vars_os())
    }

    /// Adds a setting as the builder gives it.
    ///
    /// # Errors
    /// An unknown name, with the nearest that exists. Values are checked by [`check`](Self::check).
    pub fn set(&mut self, name: &str, value: impl Into<Value>) -> Result<()> {
        self.add(name, value.into(), Origin::Builder)
    }

    /// Adds a setting as a Celery app in Python has it. All others win over it. One that Apium has not, or whose value
    /// it cannot use, is left out.
    ///
    /// # Errors
    /// Why it is left out.
    #[doc(hidden)]
    pub fn set_of_celery(&mut self, name: &str, value: Value) -> Result<()> {
        let mut alone = Self::new();
        alone.add(name, value, Origin::CeleryApp)?;
        alone.check()?;
        self.merge(alone);
        Ok(())
    }

    /// Adds a task of a Celery app in Python.
    #[doc(hidden)]
    pub fn add_foreign(&mut self, task: ForeignTask) {
        self.foreign.push(task);
    }

    /// The tasks of Celery apps in Python.
    pub(crate) fn take_foreign(&mut self) -> Vec<ForeignTask> {
        std::mem::take(&mut self.foreign)
    }

    /// Adds a setting of a command line flag; `flag` is the flag as typed.
    ///
    /// # Errors
    /// An unknown name.
    pub fn set_flag(&mut self, name: &str, text: impl Into<String>, flag: &str) -> Result<()> {
        let origin = Origin::Flag(flag.into());
        match name.strip_prefix("app.") {
            Some(entry) => self.app.set_entry(entry.split('.').map(str::to_owned).collect(), text.into(), origin),
            None => self.add(name, Value::Text(text.into()), origin),
        }
    }

    /// Adds the settings of a TOML text; `path` is its name in errors. The table `[app]` is for [`app`](Self::app).
    ///
    /// # Errors
    /// A text that is no TOML, an unknown name, an `app` that is no table. Without the feature `config-file`, any text.
    #[cfg(feature = "config-file")]
    pub fn add_toml(&mut self, text: &str, path: &str) -> Result<()> {
        let table: toml::Table = toml::from_str(text).map_err(|error| {
            // The error's own text would show the line, and with it perhaps a secret.
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            Error::new(ErrorKind::Config, format!("read the file {path}: line {line}: {}", error.message()))
        })?;
        for (name, value) in table {
            self.add(&name, value.into(), Origin::File(path.into()))?;
        }
        Ok(())
    }

    /// Adds the settings of a TOML text. This program cannot read one.
    ///
    /// # Errors
    /// Always: the feature `config-file` is off.
    #[cfg(not(feature = "config-file"))]
    pub fn add_toml(&mut self, _text: &str, path: &str) -> Result<()> {
        let text = format!("read the file {path}: this program was built without the feature `config-file` of apium");
        Err(Error::new(ErrorKind::Config, text))
    }

    /// Adds the settings of a TOML file.
    ///
    /// # Errors
    /// A file that cannot be read or is no TOML, an unknown name. Without the feature `config-file`, any file.
    pub fn load_file(&mut self, path: &Path) -> Result<()> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::new(ErrorKind::Config, format!("read the file {}", path.display())).with_source(error)
        })?;
        self.add_toml(&text, &path.display().to_string())
    }

    /// Adds the settings among environment variables: `APIUM_` and the setting's name in upper case. `APIUM_APP__…` is
    /// for [`app`](Self::app). Two settings of Celery are variables only, and are read by its names too:
    /// `CELERY_WORKER_REVOKES_MAX` and `CELERY_WORKER_REVOKE_EXPIRES`; those that begin with `APIUM_` win.
    /// `APIUM_CONFIG`, which names the settings file, and all other variables are ignored.
    ///
    /// # Errors
    /// A variable that begins with `APIUM_` and names no setting, or is no Unicode text.
    pub fn add_env<K, V>(&mut self, variables: impl IntoIterator<Item = (K, V)>) -> Result<()>
    where
        K: Into<std::ffi::OsString>,
        V: Into<std::ffi::OsString>,
    {
        let variables = variables.into_iter().filter_map(|(variable, value)| {
            let variable = variable.into().into_string().ok()?;
            let is_celerys = CELERYS_VARIABLES.contains(&&*variable);
            (is_celerys || variable.starts_with("APIUM_")).then(|| (variable, value.into()))
        });
        let mut variables: Vec<(String, std::ffi::OsString)> = variables.collect();
        // What is added later wins.
        variables.sort_by_key(|(variable, _)| variable.starts_with("APIUM_"));
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix("APIUM_").or_else(|| variable.strip_prefix("CELERY_")) else {
                continue;
            };
            if variable == "APIUM_CONFIG" {
                continue;
            }
            let value = value.into_string().map_err(|_| {
                Error::new(
                    ErrorKind::Config,
                    format!("read the environment variable {variable}: it is no Unicode text"),
                )
            })?;
            let origin = Origin::Variable(variable.clone());
            if let Some(entry) = name.strip_prefix("APP__") {
                let path = entry.split("__").map(str::to_ascii_lowercase).collect();
                self.app.set_entry(path, value, origin)?;
            } else {
                self.add(&name.to_ascii_lowercase(), Value::Text(value), origin)?;
            }
        }
        Ok(())
    }

    /// Adds all of `other`. The origin of each value decides which one wins; of the same origin, that of `other` does.
    pub fn merge(&mut self, other: Self) {
        for (name, (value, origin)) in other.given {
            self.put(name, value, origin);
        }
        self.app.merge(other.app);
        self.foreign.extend(other.foreign);
    }

    fn add(&mut self, name: &str, value: Value, origin: Origin) -> Result<()> {
        if name == app_table::NAME {
            return self.app.set(value, origin);
        }
        let Some(setting) = find(name) else {
            if let Some(instead) = only_celerys(name) {
                let text =
                    format!("use the setting {name} of {origin}: it is Celery's, and not one of Apium: {instead}");
                return Err(Error::new(ErrorKind::Config, text));
            }
            let hint = hint(name, &value, &SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>());
            return Err(Error::new(
                ErrorKind::Config,
                format!("use the setting {name} of {origin}: there is none of that name{hint}"),
            ));
        };
        self.put(setting.name, value, origin);
        Ok(())
    }

    fn put(&mut self, name: &'static str, value: Value, origin: Origin) {
        match self.given.get(name) {
            Some((_, present)) if present.rank() > origin.rank() => {}
            _ => {
                self.given.insert(name, (value, origin));
            }
        }
    }

    /// The settings that are given, as they may be printed.
    pub(crate) fn shown(&self) -> Vec<ShownSetting> {
        let shown = |(name, (value, origin)): (&&'static str, &(Value, Origin))| ShownSetting {
            name,
            shown: without_secrets(name, value),
            origin: origin.to_string(),
        };
        let app = self.app.shown().map(|(shown, origin)| ShownSetting { name: app_table::NAME, shown, origin });
        self.given.iter().map(shown).chain(app).collect()
    }

    /// The table `[app]` as a type of the program: the part of `apium.toml` that is not Apium's.
    ///
    /// `APIUM_APP__NAME` and `APIUM_APP__TABLE__NAME` win over the entries `name` and `table.name` of the file. Such a
    /// text is read as the type of its field: a number, `true` or `false`, a list (`a,b` or JSON), a table (JSON). An
    /// empty one is `None` for an `Option`.
    ///
    /// An entry that the type has no field for is left out; `#[serde(deny_unknown_fields)]` makes a misspelled one an
    /// error.
    ///
    /// Where there is no table, serde decides: a struct with `#[serde(default)]` has its defaults, a field without a
    /// default is an error, and an `Option<T>` is `None`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an entry that is missing or does not fit. The error names the file or the variable,
    /// the entry and what is expected. It does not show the value.
    pub fn app<T: DeserializeOwned>(&self) -> Result<T> {
        self.app.read()
    }

    pub(crate) fn app_table(&self) -> &AppTable {
        &self.app
    }

    /// Where a setting came from; `None` when it has its default.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.given.get(name).map(|(_, origin)| origin)
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first value that does not fit, with the setting, its origin, the value and what is allowed.
    pub fn check(&self) -> Result<Config> {
        Config::read(self)
    }

    pub(crate) fn read<T: FromValue>(&self, name: &'static str) -> Result<Option<T>> {
        let Some((value, origin)) = self.given.get(name) else { return Ok(None) };
        let read = match value {
            Value::Text(text) if origin.is_text() => T::from_text(text),
            other => T::from_value(other),
        };
        read.map(Some).map_err(|wrong| describe(name, origin, &wrong))
    }

    /// An error about a value that has the right type but is not allowed.
    pub(crate) fn wrong(&self, name: &'static str, allowed: &str) -> Error {
        match self.given.get(name) {
            Some((value, origin)) => describe(name, origin, &InvalidValue::new(value, allowed)),
            None => {
                Error::new(ErrorKind::Config, format!("use the default of the setting {name}: allowed is {allowed}"))
            }
        }
    }
}

impl std::fmt::Debug for Settings {
    /// Names and origins only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.given.iter().map(|(name, (_, origin))| (name, origin.to_string()))).finish()
    }
}

/// A value as it may be printed: addresses without passwords, options of drivers by name alone.
fn without_secrets(name: &str, value: &Value) -> String {
    match value {
        Value::Text(text) if matches!(name, "broker_url" | "result_backend") => {
            Address::parse(text).map_or_else(|_| "not an address".to_owned(), |address| address.to_string())
        }
        Value::Text(_) if name.ends_with("transport_options") => "(not shown)".to_owned(),
        Value::Table(entries) => entries.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(", "),
        Value::List(items) => items.iter().map(Value::shown).collect::<Vec<_>>().join(", "),
        Value::Text(text) => text.clone(),
        other => other.shown(),
    }
}

/// Variables of Celery that are settings here.
const CELERYS_VARIABLES: [&str; 2] = ["CELERY_WORKER_REVOKES_MAX", "CELERY_WORKER_REVOKE_EXPIRES"];

/// Settings that Celery has and Apium lacks, each with what is here instead. A name that ends with `*` stands for all
/// that begin so.
pub(crate) const ONLY_CELERYS: &[(&[&str], &str)] = &[
    (
        &["broker_use_ssl", "redis_backend_use_ssl"],
        "write rediss:// as the scheme of the address; `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` and `ssl_cert_reqs` \
         are options of its query, or of the transport options",
    ),
    (
        &["broker_host", "broker_port", "broker_user", "broker_password", "broker_vhost", "broker_transport"],
        "it is a part of `broker_url`",
    ),
    (&["broker_login_method"], "every driver has one way to log in; for RabbitMQ it is PLAIN"),
    (&["redis_host", "redis_port", "redis_db", "redis_username", "redis_password"], "it is a part of `result_backend`"),
    (
        &["redis_socket_*", "redis_retry_on_timeout", "redis_max_connections"],
        "the driver keeps a few connections and opens them again by itself; `socket_timeout` is an option of its address",
    ),
    (&["broker_read_url", "broker_write_url"], "`broker_url` is read and written"),
    (&["broker_failover_strategy"], "several addresses in `broker_url`, with `;` between, are tried in their order"),
    (
        &[
            "broker_connection_retry",
            "broker_connection_retry_on_startup",
            "broker_connection_max_retries",
            "broker_channel_error_retry",
        ],
        "a worker tries until its broker answers; `task_publish_retry_policy` and `broker_publish_timeout` bound a call",
    ),
    (
        &["broker_heartbeat", "broker_heartbeat_checkrate"],
        "drivers watch their connections by themselves; for RabbitMQ the address has `heartbeat`, and elsewhere \
         `worker_lease` says when a silent worker is taken for dead",
    ),
    (
        &["broker_native_delayed_delivery_queue_type", "worker_detect_quorum_queues"],
        "it is for RabbitMQ, whose driver has `native_delayed_delivery_queue_type` in `broker_transport_options`, and \
         needs to detect nothing",
    ),
    (&["beat_*"], "there is no scheduler; Celery's beat can send to the workers"),
    (&["imports", "include"], "tasks are a part of the program, and found when it starts"),
    (&["worker_state_db"], "revokes are kept by the broker, for all workers"),
    (
        &["control_queue_exclusive", "control_queue_durable", "event_queue_exclusive", "event_queue_durable"],
        "a queue of commands, replies or events belongs to who listens to it, and goes with it",
    ),
    (
        &["result_serializer", "result_compression", "result_accept_content"],
        "results are written as JSON, and all of Celery's forms but pickle are read",
    ),
    (
        &[
            "result_backend_always_retry",
            "result_backend_max_retries",
            "result_backend_base_sleep_between_retries_ms",
            "result_backend_max_sleep_between_retries_ms",
        ],
        "drivers connect again and repeat what failed by themselves",
    ),
    (&["result_cache_max"], "a result object keeps its result once it has seen it ready"),
    (
        &["result_exchange", "result_exchange_type", "result_persistent"],
        "it is for `rpc://`, which has `result_persistent` in `result_backend_transport_options` and needs no exchange",
    ),
    (&["result_failure_expires"], "`result_expires` is for every state"),
    (&["result_chord_retry_interval"], "every result backend counts the parts of a chord; nothing is polled"),
    (&["task_protocol"], "protocol 2 is written, and both are read"),
    (&["task_remote_tracebacks"], "a traceback is text"),
    (&["task_repr_maxlevels"], "three levels are shown, as by default in Celery"),
    (&["task_acks_on_failure_or_timeout"], "`task_acks_on_failure` and `task_acks_on_timeout` are two settings"),
    (&["worker_pool_putlocks", "worker_pool_start_method"], "a child process is the program itself, started again"),
    (&["security_*"], "messages are not signed"),
    (
        &["worker_log_*", "worker_task_log_*", "worker_redirect_stdouts*", "worker_hijack_root_logger"],
        "the options `--loglevel` and `--log-format` say what is logged and how; a program may have its own subscriber of \
         `tracing`",
    ),
    (&["worker_eta_task_limit"], "messages with an eta wait in the broker and cost a worker nothing"),
    (
        &["worker_disable_prefetch", "worker_enable_prefetch_count_reduction"],
        "`worker_prefetch_multiplier` says how far ahead is fetched",
    ),
    (
        &["worker_cancel_long_running_tasks_on_connection_loss", "worker_deduplicate_successful_tasks"],
        "a message stays with its live worker, whatever happens to the connection",
    ),
    (&["worker_direct"], "a queue for one worker is one that only this worker consumes"),
    (&["worker_enable_soft_shutdown_on_idle"], "an idle worker stops at once"),
    (
        &["worker_agent", "worker_autoscaler", "worker_consumer", "worker_timer", "worker_timer_precision"],
        "the parts of a worker cannot be exchanged",
    ),
    (
        &[
            "arangodb_*",
            "azureblockblob_*",
            "cache_*",
            "cassandra_*",
            "cosmosdbsql_*",
            "couchbase_*",
            "database_*",
            "elasticsearch_*",
            "gcs_*",
            "mongodb_*",
            "s3_*",
        ],
        "there is no such result backend; Redis and SQLite are here",
    ),
];

/// What is here instead of a setting that only Celery has. `None` for a name that Celery does not have either.
fn only_celerys(name: &str) -> Option<&'static str> {
    let is = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => *pattern == name,
    };
    ONLY_CELERYS.iter().find(|(patterns, _)| patterns.iter().any(is)).map(|(_, instead)| *instead)
}

/// The row of a setting.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

fn describe(name: &str, origin: &Origin, wrong: &InvalidValue) -> Error {
    let key = match (&*wrong.path, origin) {
        ("", _) => name.to_owned(),
        (path, _) => format!("{name}.{path}"),
    };
    let why = wrong.instead.clone().unwrap_or_else(|| {
        let found = wrong.found.as_ref().map_or_else(String::new, |found| format!("it is {found}, "));
        format!("{found}allowed is {}", wrong.allowed)
    });
    Error::new(ErrorKind::Config, format!("use the setting {key} of {origin}: {why}"))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use super::*;
    use crate::config::prefetch::PrefetchMultiplier;

    fn error(settings: &Settings) -> String {
        format!("{:#}", settings.check().unwrap_err())
    }

    #[test]
    fn an_unknown_setting_names_the_nearest() {
        let mut settings = Settings::new();
        let error = settings.set("task_serialiser", "json").unwrap_err().to_string();
        assert!(error.contains("did you mean task_serializer?"), "{error}");
        let error = settings.add_toml("worker_prefetch_multiplyer = 1", "apium.toml").unwrap_err().to_string();
        assert!(error.contains("worker_prefetch_multiplier") && error.contains("the file apium.toml"), "{error}");
        let error = settings.add_env([("APIUM_BROKER_UR", "x")]).unwrap_err().to_string();
        assert!(error.contains("APIUM_BROKER_UR") && error.contains("did you mean broker_url?"), "{error}");
        settings.add_env([("APIUM_CONFIG", "x"), ("HOME", "y"), ("CELERY_OTHER", "z")]).unwrap();
    }

    #[test]
    fn two_settings_are_read_by_celerys_variables_too() {
        let mut settings = Settings::new();
        let variables = [("APIUM_WORKER_REVOKES_MAX", "7"), ("CELERY_WORKER_REVOKES_MAX", "8")];
        settings.add_env(variables.into_iter().chain([("CELERY_WORKER_REVOKE_EXPIRES", "9")])).unwrap();
        let config = settings.check().unwrap();
        assert_eq!((config.worker_revokes_max, config.worker_revoke_expires), (7, Duration::from_secs(9)));
    }

    #[test]
    fn a_setting_that_only_celery_has_says_what_is_here_instead() {
        let mut settings = Settings::new();
        let error = settings.add_toml("broker_use_ssl = true", "apium.toml").unwrap_err().to_string();
        assert!(error.starts_with("use the setting broker_use_ssl of the file apium.toml: it is Celery's"), "{error}");
        assert!(error.contains("rediss://") && !error.contains("did you mean"), "{error}");
    }

    #[test]
    fn a_bad_value_names_setting_origin_value_and_what_is_allowed() {
        let mut settings = Settings::new();
        settings.add_toml("worker_concurrency = \"many\"", "etc/apium.toml").unwrap();
        assert_eq!(
            error(&settings),
            "use the setting worker_concurrency of the file etc/apium.toml: it is \"many\", allowed is a whole number, 1 or more"
        );
        let mut settings = Settings::new();
        settings.add_env([("APIUM_TASK_ACKS_LATE", "perhaps")]).unwrap();
        assert!(error(&settings).contains("the environment variable APIUM_TASK_ACKS_LATE: it is \"perhaps\""));
    }

    #[test]
    fn precedence_is_builder_file_variable_flag_whatever_the_order() {
        let mut settings = Settings::new();
        settings.set_flag("task_default_queue", "flag", "-q").unwrap();
        settings.add_env([("APIUM_TASK_DEFAULT_QUEUE", "env"), ("APIUM_WORKER_CONCURRENCY", "3")]).unwrap();
        settings.add_toml("task_default_queue = 'file'\nworker_concurrency = 2\nresult_expires = '1h'", "f").unwrap();
        settings.set("task_default_queue", "builder").unwrap();
        settings.set("result_expires", Duration::from_secs(5)).unwrap();
        settings.set("task_acks_late", true).unwrap();
        let config = settings.check().unwrap();
        assert_eq!(config.task_default_queue, "flag");
        assert_eq!(config.worker_concurrency.map(NonZeroUsize::get), Some(3));
        assert_eq!(config.result_expires, Some(Duration::from_secs(3600)));
        assert!(config.task_acks_late);
        assert_eq!(config.worker_prefetch_multiplier, PrefetchMultiplier::Auto);
    }

    #[test]
    fn lists_are_comma_lists_in_variables() {
        let mut settings = Settings::new();
        settings.add_env([("APIUM_ACCEPT_CONTENT", "json,msgpack,yaml")]).unwrap();
        assert_eq!(settings.check().unwrap().accept_content, ["json", "msgpack", "yaml"]);
    }

    #[test]
    fn secrets_are_never_printed() {
        let mut settings = Settings::new();
        settings.set("broker_url", "redis//user:hunter2@host").unwrap();
        assert!(!error(&settings).contains("hunter2"));
        assert!(!format!("{settings:?}").contains("hunter2"));
        settings.set("broker_url", "redis://user:hunter2@host").unwrap();
        assert!(!format!("{:?}", settings.check().unwrap()).contains("hunter2"));
        let broken = settings.add_toml("broker_url = \"redis://user:hunter2@host", "f").unwrap_err();
        let broken = format!("{broken:#}");
        let given = settings.check().unwrap().changed().next().unwrap().clone();
        assert_eq!((&*given.shown, &*given.origin), ("redis://user:**@host", "the app's builder"));
        assert!(!broken.contains("hunter2") && broken.contains("line 1"), "{broken}");
    }

    #[test]
    fn defaults_are_read_back_by_their_own_types() {
        let mut settings = Settings::new();
        for setting in SETTINGS {
            if setting.default != "none" {
                settings.set_flag(setting.name, setting.default, "default").unwrap();
            }
        }
        settings.given.remove("task_publish_retry_policy");
        let (read, default) = (settings.check().unwrap(), Config::default());
        // What was given is the one difference.
        let without = |config: &Config| format!("{config:?}").split(", given: ").next().map(str::to_owned);
        assert_eq!(without(&read), without(&default));
    }

    #[test]
    fn what_types_cannot_say_is_checked_too() {
        for (name, value, word) in [
            ("task_serializer", Value::from("pickle"), "pickle"),
            ("event_serializer", Value::from("pickle"), "event_serializer"),
            ("accept_content", Value::from(["json", "pickle"]), "accept_content"),
            ("worker_concurrency", Value::Int(0), "1 or more"),
            ("task_default_delivery_mode", Value::Int(3), "1 or 2"),
        ] {
            let mut settings = Settings::new();
            settings.set(name, value).unwrap();
            assert!(error(&settings).contains(word), "{name}: {}", error(&settings));
        }
        let mut settings = Settings::new();
        settings.set("task_time_limit", 10).unwrap();
        settings.set("task_soft_time_limit", 11).unwrap();
        assert!(error(&settings).contains("at most task_time_limit, which is 10 s"));
    }

    #[test]
    fn guide_0_20_default_retry_delay_is_a_setting_of_the_whole_app() {
        let mut settings = Settings::new();
        assert_eq!(settings.check().unwrap().task_defaults().default_retry_delay, None);
        settings.set("task_default_retry_delay", 180).unwrap();
        let config = settings.check().unwrap();
        assert_eq!(config.task_defaults().default_retry_delay, Some(Duration::from_secs(180)));
    }

    #[test]
    fn routes_keep_their_order_in_toml() {
        let mut settings = Settings::new();
        let text = "[task_routes]\n'z.*' = 'first'\n'z.a*' = { queue = 'second', priority = 3 }\n'z.ab' = 'exact'";
        settings.add_toml(text, "f").unwrap();
        let config = settings.check().unwrap();
        let queue = |task: &str| config.task_routes[0].find(task).and_then(|options| options.queue.clone());
        assert_eq!(queue("z.ax").as_deref(), Some("first"));
        assert_eq!(queue("z.ab").as_deref(), Some("exact"));
    }

    #[test]
    fn no_setting_is_said_to_be_celerys_alone() {
        for setting in SETTINGS {
            assert_eq!(only_celerys(setting.name), None, "{}", setting.name);
        }
        assert!(only_celerys("broker_use_ssl").is_some_and(|text| text.contains("rediss://")));
        assert!(only_celerys("cassandra_port").is_some() && only_celerys("task_serialiser").is_none());
    }
}
