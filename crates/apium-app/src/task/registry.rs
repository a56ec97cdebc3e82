//! The registry: the tasks of an app by name. Two tasks of one name are an error, never a silent choice.

use std::collections::HashMap;
use std::sync::Arc;

use crate::context::state_map::StateMap;
use crate::error::{Error, ErrorKind, Result};
use crate::options::effective_options::TaskDefaults;
use crate::options::task_options::TaskOptions;
use crate::task::class::{Task, registered};
use crate::task::definition::{TaskDef, TaskEntry};
use crate::task::registered::RegisteredTask;

/// The tasks of an app by name and alias.
#[derive(Debug, Default)]
pub struct Registry {
    by_name: HashMap<Arc<str>, Arc<RegisteredTask>>,
    in_order: Vec<Arc<RegisteredTask>>,
}

/// Collects tasks; [`build`](Self::build) decides their options and refuses duplicate names.
#[derive(Debug, Default)]
pub struct RegistryBuilder {
    tasks: Vec<RegisteredTask>,
    definitions: Vec<&'static TaskDef>,
    builtins: Vec<RegisteredTask>,
}

impl RegistryBuilder {
    /// No tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a `#[task]` function. Adding the same one again changes nothing.
    pub fn def(&mut self, def: &'static TaskDef) {
        if !self.definitions.iter().any(|known| std::ptr::eq(*known, def)) {
            self.definitions.push(def);
            self.tasks.push(RegisteredTask::from_def(def));
        }
    }

    /// Adds tasks that answer to their names where no task of the app's own does, and that are not listed.
    pub(crate) fn builtins(&mut self, defs: &'static [TaskDef]) {
        self.builtins.extend(defs.iter().map(RegisteredTask::from_def));
    }

    /// Adds every `#[task]` function that is linked into this program (feature `autodiscover`).
    ///
    /// The linker drops a library crate that nothing refers to, and its tasks with it: name one item of such a crate,
    /// or add its tasks one by one. A worker prints its tasks when it starts.
    pub fn discover(&mut self) {
        for TaskEntry(def) in inventory::iter::<TaskEntry> {
            self.def(def);
        }
    }

    /// Adds a task class.
    pub fn task<T: Task>(&mut self, task: T) {
        self.tasks.push(registered(task));
    }

    /// Decides the options of every task. `annotations` says what `task_annotations` has for a name.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for two tasks of one name (both are named) and for options that cannot be.
    pub fn build(self, defaults: &TaskDefaults, annotations: impl Fn(&str) -> TaskOptions) -> Result<Registry> {
        let mut registry = Registry::default();
        for task in self.tasks {
            let annotation = annotations(&task.name);
            registry.add(Arc::new(task.with_defaults(annotation, defaults)?))?;
        }
        for task in self.builtins {
            let annotation = annotations(&task.name);
            let task = task.with_defaults(annotation, defaults)?;
            registry.by_name.entry(task.name.clone()).or_insert_with(|| Arc::new(task));
        }
        registry.in_order.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(registry)
    }
}

impl Registry {
    fn add(&mut self, task: Arc<RegisteredTask>) -> Result<()> {
        for name in std::iter::once(&task.name).chain(&task.aliases) {
            if let Some(other) = self.by_name.insert(name.clone(), task.clone()) {
                return Err(duplicate(name, &other, &task));
            }
        }
        self.in_order.push(task);
        Ok(())
    }

    /// The task of a name or an alias.
    pub fn get(&self, name: &str) -> Option<&Arc<RegisteredTask>> {
        self.by_name.get(name)
    }

    /// The app's own tasks, sorted by name; the built-in ones are not among them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RegisteredTask>> {
        self.in_order.iter()
    }

    /// How many tasks there are; aliases are not counted.
    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    /// Sees to it that every task finds its state; called when a worker starts.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] that names each task and each type that is missing.
    pub fn check_states(&self, states: &StateMap) -> Result<()> {
        let missing: Vec<String> = self
            .iter()
            .flat_map(|task| task.needs.iter().map(move |need| (task, need)))
            .filter(|(_, need)| !states.contains(need.type_id()))
            .map(|(task, need)| format!("{} takes State<{}>", task.name, need.name()))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let context =
            format!("start with state missing: {}; give each type with AppBuilder::state", missing.join(", "));
        Err(Error::new(ErrorKind::Config, context))
    }
}

fn duplicate(name: &str, first: &RegisteredTask, second: &RegisteredTask) -> Error {
    if first.name == second.name && first.location == second.location {
        let context = format!(
            "register the task {} (defined at {}): it was registered twice, or it has \"{name}\" twice among its names",
            first.name, first.location
        );
        return Error::new(ErrorKind::Config, context);
    }
    let whose = |task: &RegisteredTask| format!("{} (defined at {})", task.name, task.location);
    let context = format!("register two tasks under the name \"{name}\": {} and {}", whose(first), whose(second));
    Error::new(ErrorKind::Config, context)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use apium_protocol::json::text::Json;

    use super::{Registry, RegistryBuilder};
    use crate::context::state_map::StateMap;
    use crate::error::{ErrorKind, Result};
    use crate::options::effective_options::TaskDefaults;
    use crate::options::task_options::TaskOptions;
    use crate::task::arguments::ParameterList;
    use crate::task::definition::{Hooks, StateNeed, TaskDef, TaskFn};

    const NEEDS: &[Option<StateNeed>] = &[Some(StateNeed::of::<u8>()), None];

    const fn def(name: &'static str, aliases: &'static [&'static str], location: &'static str) -> TaskDef {
        TaskDef {
            name,
            aliases,
            parameters: ParameterList { function: "f", named: &[], var_args: false, var_kwargs: false },
            options: || TaskOptions { priority: Some(3), ..TaskOptions::NEW },
            hooks: Hooks::NONE,
            needs: NEEDS,
            takes_ctx: false,
            run: TaskFn::Blocking(|_| Ok(Json::NULL)),
            location,
        }
    }

    static ADD: TaskDef = def("proj.add", &["add_v1"], "a.rs:1");
    static SAME: TaskDef = def("proj.add", &[], "b.rs:2");
    static ALIAS: TaskDef = def("proj.other", &["add_v1"], "c.rs:3");
    static TWICE: TaskDef = def("proj.twice", &["proj.twice"], "d.rs:4");

    fn build(defs: &[&'static TaskDef]) -> Result<Registry> {
        let mut builder = RegistryBuilder::new();
        for def in defs {
            builder.def(def);
        }
        builder.build(&TaskDefaults::default(), |_| TaskOptions::NEW)
    }

    #[test]
    fn a_task_is_found_by_its_name_and_its_aliases() {
        let registry = build(&[&ADD]).unwrap();
        assert_eq!(&*registry.get("proj.add").unwrap().name, "proj.add");
        assert_eq!(&*registry.get("add_v1").unwrap().name, "proj.add");
        assert!(registry.get("proj.sub").is_none());
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn two_tasks_of_one_name_are_refused_and_both_are_named() {
        for (other, place) in [(&SAME, "b.rs:2"), (&ALIAS, "c.rs:3")] {
            let error = build(&[&ADD, other]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let text = error.to_string();
            assert!(text.contains("a.rs:1") && text.contains(place), "{text}");
        }
        let text = build(&[&TWICE]).unwrap_err().to_string();
        assert!(text.contains("proj.twice") && text.contains("d.rs:4"), "{text}");
    }

    #[test]
    fn the_same_definition_may_be_added_again() {
        assert_eq!(build(&[&ADD, &ADD]).unwrap().len(), 1);
    }

    #[test]
    fn annotations_win_over_the_attribute_and_settings_fill_the_rest() {
        let mut builder = RegistryBuilder::new();
        builder.def(&ADD);
        let defaults = TaskDefaults { track_started: true, ..TaskDefaults::default() };
        let annotations = |name: &str| match name {
            "proj.add" => TaskOptions { time_limit: Some(Duration::from_secs(9)), ..TaskOptions::NEW },
            _ => TaskOptions::NEW,
        };
        let registry = builder.build(&defaults, annotations).unwrap();
        let task = registry.get("proj.add").unwrap();
        assert_eq!(task.options.priority, Some(3));
        assert_eq!(task.effective.time_limit, Some(Duration::from_secs(9)));
        assert!(task.effective.track_started);
    }

    #[test]
    fn options_that_cannot_be_name_the_task() {
        let mut builder = RegistryBuilder::new();
        builder.def(&ADD);
        let bad = |_: &str| TaskOptions { rate_limit: Some("10/x".into()), ..TaskOptions::NEW };
        let text = format!("{:#}", builder.build(&TaskDefaults::default(), bad).unwrap_err());
        assert!(text.contains("proj.add") && text.contains("10/x"), "{text}");
    }

    #[test]
    fn missing_state_names_the_task_and_the_type() {
        let registry = build(&[&ADD]).unwrap();
        let text = registry.check_states(&StateMap::new()).unwrap_err().to_string();
        assert!(text.contains("proj.add takes State<u8>"), "{text}");
        assert!(registry.check_states(&StateMap::new().with(1_u8)).is_ok());
    }
}
