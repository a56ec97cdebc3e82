//! What those who run workers should know about tasks that are acknowledged before they run.

use crate::config::table::Config;
use crate::task::registry::Registry;

/// How many tasks are named.
const NAMED: usize = 3;

/// One line about the tasks that are acknowledged before they run because nobody decided it: what a killed worker does
/// to them, and what `task_acks_late = true` changes. `None` where there are none. A task that gives `acks_late`
/// itself, and an app that sets `task_acks_late`, have decided.
pub fn early_ack_note(registry: &Registry, config: &Config) -> Option<String> {
    if config.changed().any(|setting| setting.name == "task_acks_late") {
        return None;
    }
    let undecided = registry.iter().filter(|task| task.options.acks_late.is_none() && !task.effective.acks_late);
    let names: Vec<&str> = undecided.map(|task| &*task.name).collect();
    let mut shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED {
        shown.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    (!names.is_empty()).then(|| {
        format!(
            "{shown}: acknowledged before the run, as in Celery, so what runs in a worker that is killed is lost, and a \
             chord that waits for it stays PENDING for ever; with task_acks_late = true it runs again elsewhere"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Settings;
    use crate::options::task_options::TaskOptions;
    use crate::task::arguments::ParameterList;
    use crate::task::definition::{Hooks, TaskDef, TaskFn};
    use crate::task::registry::RegistryBuilder;

    const fn def(name: &'static str, options: fn() -> TaskOptions) -> TaskDef {
        TaskDef {
            name,
            aliases: &[],
            parameters: ParameterList { function: "f", named: &[], var_args: true, var_kwargs: true },
            options,
            hooks: Hooks::NONE,
            needs: &[],
            takes_ctx: false,
            run: TaskFn::Blocking(|_| Ok(apium_protocol::json::text::Json::NULL)),
            location: "here",
        }
    }

    static UNDECIDED: [TaskDef; 4] = [
        def("a", || TaskOptions::NEW),
        def("b", || TaskOptions::NEW),
        def("c", || TaskOptions::NEW),
        def("d", || TaskOptions::NEW),
    ];
    static LATE: TaskDef = def("late", || TaskOptions { acks_late: Some(true), ..TaskOptions::NEW });
    static EARLY: TaskDef = def("early", || TaskOptions { acks_late: Some(false), ..TaskOptions::NEW });

    fn note(tasks: &[&'static TaskDef], acks_late: Option<bool>) -> Option<String> {
        let mut settings = Settings::new();
        if let Some(acks_late) = acks_late {
            settings.set("task_acks_late", acks_late).unwrap();
        }
        let config = settings.check().unwrap();
        let mut builder = RegistryBuilder::new();
        tasks.iter().for_each(|task| builder.def(task));
        early_ack_note(&builder.build(&config.task_defaults(), |_| TaskOptions::NEW).unwrap(), &config)
    }

    #[test]
    fn only_tasks_whose_acknowledgement_nobody_decided_are_named() {
        let [a, b, c, d] = &UNDECIDED;
        assert!(note(&[a, &LATE, &EARLY], None).unwrap().starts_with("a: acknowledged before the run"));
        assert!(note(&[a, b, c, d], None).unwrap().starts_with("a, b, c and 1 more: "));
        assert_eq!(note(&[&LATE, &EARLY], None), None);
        for decided in [true, false] {
            assert_eq!(note(&[a, &EARLY], Some(decided)), None);
        }
    }
}
