//! Names of tasks in the settings that are spelled almost as a task of the program.

use crate::config::table::Config;

/// How many letters may differ.
const LETTERS: usize = 2;

/// One line for each entry of `task_annotations` and `task_routes` that names no task of the program, but nearly one:
/// it would do nothing. `tasks` are the names of the program's tasks. The settings of a fleet may name tasks of other
/// programs, so a name that is like none here is not told.
pub fn misnamed_notes(config: &Config, tasks: &[&str]) -> Vec<String> {
    let annotated = config.task_annotations.names().map(|name| ("task_annotations", name));
    let routed = config.task_routes.iter().flat_map(|table| table.names()).map(|name| ("task_routes", name));
    let unknown = annotated.chain(routed).filter(|(_, name)| !tasks.contains(name));
    let note = |(setting, name): (&str, &str)| {
        let (_, meant) = tasks
            .iter()
            .map(|task| (strsim::osa_distance(name, task), task))
            .filter(|(distance, _)| *distance <= LETTERS)
            .min()?;
        let name = name.escape_debug();
        Some(format!("{setting} names the task {name}, which this program does not have; did you mean {meant}?"))
    };
    let mut notes: Vec<String> = unknown.filter_map(note).collect();
    notes.sort();
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Settings;

    #[test]
    fn names_that_are_nearly_those_of_tasks_are_told() {
        let mut settings = Settings::new();
        let text = r#"
            [task_annotations]
            "*" = { priority = 1 }
            "mail.sendd" = { priority = 1 }
            "mail.send" = { priority = 1 }
            "other.program" = { priority = 1 }
            [task_routes]
            "mial.send" = { queue = "mail" }
            "mail.*" = { queue = "mail" }
        "#;
        settings.add_toml(text, "apium.toml").unwrap();
        let notes = misnamed_notes(&settings.check().unwrap(), &["mail.send", "celery.chain"]);
        let meant = "which this program does not have; did you mean mail.send?";
        let expected = [("task_annotations", "mail.sendd"), ("task_routes", "mial.send")];
        assert_eq!(notes, expected.map(|(setting, name)| format!("{setting} names the task {name}, {meant}")));
    }
}
