//! The page of Celery's settings, for who moves: each with its default there and here, or with what is here instead.

use std::collections::{BTreeMap, BTreeSet};

const INTRODUCTION: &str = "# Celery's settings

Made by `cargo xtask docs` from [SETTINGS.md](SETTINGS.md) and the list of the settings of Celery 5.7, which a test
compares with Celery's own. [FROM-CELERY.md](FROM-CELERY.md) says how to move.

A setting that is here has Celery's lower-case name and Celery's meaning; [SETTINGS.md](SETTINGS.md) says what it does.
A dash means that it is not here: Apium refuses it and says why, as this page does. `apium worker -A proj` takes the
settings of the Celery app, and leaves out those that are not here.
";

/// The parts of the page: each with the beginnings of its names. What none of them has is in the last part.
const PARTS: &[(&str, &[&str])] = &[
    ("General", &["accept_", "enable_", "imports", "include", "timezone"]),
    ("Tasks", &["task_"]),
    ("Brokers", &["broker_"]),
    ("Results", &["result_", "redis_"]),
    ("Workers", &["worker_"]),
    ("Remote control and events", &["control_", "event_"]),
    ("Beat", &["beat_"]),
    ("Signed messages", &["security_"]),
    ("Other result backends", &[""]),
];

/// Why a default differs, and what else is to be known. Every default that differs has a note.
const NOTES: &[(&str, &str)] = &[
    ("broker_pool_limit", "the limit is for producers that are held (`app.producer()`); calls share a connection"),
    ("broker_url", "Celery takes `amqp://` where none is given; here a call without a broker is an error"),
    (
        "task_acks_on_failure",
        "the same in effect: Celery takes `task_acks_on_failure_or_timeout`, which is `true`, where none is given",
    ),
    (
        "task_acks_on_timeout",
        "the same in effect: Celery takes `task_acks_on_failure_or_timeout`, which is `true`, where none is given",
    ),
    ("task_publish_retry_policy", "the longest wait is that of Celery's task guide"),
    ("task_queues", "tables of names, in place of objects of kombu"),
    ("task_reject_on_worker_lost", "the same in effect"),
    ("task_routes", "tables; a function is given to the builder of the app"),
    (
        "worker_concurrency",
        "one for each processor, as in Celery; at least 64 where all tasks are `async fn`, since these mostly wait",
    ),
    ("worker_pool", "`async fn` runs on the runtime and plain `fn` on threads; `prefork` means `processes`"),
    (
        "worker_prefetch_multiplier",
        "as many messages as end in about 50 ms are fetched ahead; a number means what it means in Celery",
    ),
    ("worker_soft_shutdown_timeout", "above 0 it bounds a warm stop too, in Celery a cold one alone"),
];

/// What Apium's own page says.
struct Own<'p> {
    /// The settings by name: default and meaning, in the order of the page.
    settings: Vec<(&'p str, &'p str, &'p str)>,
    /// The beginnings of names that are not here, or whole names, and what is here instead.
    instead: Vec<(&'p str, &'p str)>,
}

impl<'p> Own<'p> {
    /// Reads the rows of the tables of the page.
    fn read(page: &'p str) -> Self {
        let mut own = Self { settings: Vec::new(), instead: Vec::new() };
        for row in page.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")) {
            match *row.splitn(4, " | ").collect::<Vec<_>>() {
                [name, default, _, meaning] => own.settings.push((name.trim_end_matches('`'), default, meaning)),
                [names, text] => {
                    own.instead.extend(names.trim_end_matches('`').split("`, `").map(|name| (name, text)));
                }
                _ => {}
            }
        }
        own
    }

    fn default_of(&self, name: &str) -> Option<&'p str> {
        self.settings.iter().find(|(own, ..)| *own == name).map(|(_, default, _)| *default)
    }

    fn instead_of(&self, name: &str) -> Option<&'p str> {
        let found = self.instead.iter().find(|(pattern, _)| stands_for(pattern, name));
        found.map(|(_, text)| *text)
    }
}

/// Whether a name, or a beginning with a star, stands for a setting.
fn stands_for(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |beginning| name.starts_with(beginning))
}

/// The page, from Apium's page of settings and from Celery's settings with their defaults (JSON).
///
/// # Errors
/// A setting of Celery that is not here, without a reason; a default that differs, without a note.
pub(crate) fn page(own: &str, celerys: &str) -> Result<String, String> {
    let celerys: BTreeMap<String, String> =
        serde_json::from_str(celerys).map_err(|e| format!("read the list of Celery's settings: {e}"))?;
    let own = Own::read(own);
    let mut rows: BTreeMap<usize, String> = BTreeMap::new();
    let (mut same, mut different) = (0, BTreeSet::new());
    for (name, default) in &celerys {
        let note = note(name);
        let cells = match (own.default_of(name), own.instead_of(name)) {
            (Some(here), _) if here == default => {
                same += 1;
                [code(default), code(here), note.unwrap_or_default().to_owned()]
            }
            (Some(here), _) => {
                different.insert(name);
                let note = note.ok_or_else(|| format!("the default of {name} differs: say why in NOTES"))?;
                [code(default), format!("**{}**", code(here)), note.to_owned()]
            }
            (None, Some(instead)) => [code(default), "–".to_owned(), instead.to_owned()],
            (None, None) => return Err(format!("{name} of Celery is not here: ONLY_CELERYS does not say why")),
        };
        rows.entry(part(name)).or_default().push_str(&format!("| `{name}` | {} |\n", cells.join(" | ")));
    }
    let mut page = INTRODUCTION.to_owned();
    page.push_str(&format!(
        "\nOf Celery's {} settings {} are here. The defaults of {} are Celery's, and those of {} are not: {}.\n",
        celerys.len(),
        same + different.len(),
        same,
        different.len(),
        different.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    ));
    for (part, rows) in rows {
        let title = PARTS[part].0;
        page.push_str(&format!(
            "\n## {title}\n\n| setting | default in Celery | default here | note |\n|---|---|---|---|\n{rows}"
        ));
    }
    page.push_str("\n## Settings that Celery does not have\n\n| setting | default | meaning |\n|---|---|---|\n");
    for (name, default, meaning) in own.settings.iter().filter(|(name, ..)| !celerys.contains_key(*name)) {
        page.push_str(&format!("| `{name}` | {} | {meaning} |\n", code(default)));
    }
    Ok(page)
}

/// A default as code; "none" is none.
fn code(default: &str) -> String {
    if default == "none" { default.to_owned() } else { format!("`{default}`") }
}

fn note(name: &str) -> Option<&'static str> {
    NOTES.iter().find(|(noted, _)| *noted == name).map(|(_, note)| *note)
}

/// The part of the page to which a setting belongs.
fn part(name: &str) -> usize {
    let belongs = |(_, beginnings): &(&str, &[&str])| beginnings.iter().any(|beginning| name.starts_with(beginning));
    PARTS.iter().position(belongs).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::process;

    const OWN: &str = "| `worker_pool` | async | a text | Where tasks run. |\n| `task_x` | 3 | a text | Own. |\n\
        | `imports`, `beat_*` | there is none |\n";

    #[test]
    fn each_setting_has_its_row() {
        let celerys = r#"{ "worker_pool": "prefork", "beat_a": "none", "beat_b": "1", "imports": "none" }"#;
        let page = page(OWN, celerys).unwrap();
        assert!(page.contains("| `worker_pool` | `prefork` | **`async`** | "), "{page}");
        let beat = "## Beat\n\n| setting | default in Celery | default here | note |\n|---|---|---|---|\n\
            | `beat_a` | none | – | there is none |\n| `beat_b` | `1` | – | there is none |\n";
        assert!(page.contains(beat), "{page}");
        assert!(page.ends_with("| `task_x` | `3` | Own. |\n"), "{page}");
        assert!(page.contains("\nOf Celery's 4 settings 1 are here."), "{page}");
    }

    #[test]
    fn a_setting_without_a_reason_and_a_default_without_a_note_are_errors() {
        assert!(page(OWN, r#"{ "task_y": "none" }"#).unwrap_err().contains("task_y"));
        assert!(page(OWN, r#"{ "task_x": "4" }"#).unwrap_err().contains("NOTES"));
        assert!(page(OWN, r#"{ "task_x": "3" }"#).is_ok());
    }

    #[test]
    fn notes_and_reasons_are_for_settings_that_celery_has() {
        let root = process::root().unwrap();
        let celerys: BTreeMap<String, String> =
            serde_json::from_str(&fs::read_to_string(root.join("tests/interop/settings.json")).unwrap()).unwrap();
        let page = fs::read_to_string(root.join("docs/SETTINGS.md")).unwrap();
        let own = Own::read(&page);
        for (name, _) in NOTES {
            assert!(celerys.contains_key(*name) && own.default_of(name).is_some(), "{name}");
        }
        for (pattern, _) in &own.instead {
            assert!(celerys.keys().any(|name| stands_for(pattern, name)), "Celery has no {pattern}");
        }
        for (name, _, meaning) in own.settings.iter().filter(|(name, ..)| !celerys.contains_key(*name)) {
            let is_said = meaning.contains("(Apium's own)") || meaning.contains("(Celery: the variable");
            assert!(is_said, "{name}: Celery does not have it, and its meaning does not say so");
        }
    }
}
