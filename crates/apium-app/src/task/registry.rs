//! The registry: the tasks of an app by name. Two tasks of one name are an error.

use std::collections::HashMap;
use std::sync::Arc;

use crate::context::state_map::StateMap;
use crate::error::{Error, ErrorKind, Result};
use crate::options::effective_options::TaskDefaults;
use crate::options::task_options::TaskOptions;
use crate::task::class::{Task, registered};
use crate::task::definition::TaskDef;
use crate::task::foreign::ForeignTask;
use crate::task::registered::RegisteredTask;

/// The tasks of an app by name and alias.
#[derive(Debug, Default)]
pub struct Registry {
    by_name: HashMap<Arc<str>, Arc<RegisteredTask>>,
    in_order: Vec<Arc<RegisteredTask>>,
}

/// Collects tasks. [`build`](Self::build) resolves their options and refuses two tasks of one name.
#[derive(Debug, Default)]
pub struct RegistryBuilder {
    tasks: Vec<RegisteredTask>,
    definitions: Vec<&'static TaskDef>,
    builtins: Vec<RegisteredTask>,
}

impl RegistryBuilder {
    /// A builder without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a `#[task]` function, unless it was added before.
    pub fn def(&mut self, def: &'static TaskDef) {
        if !self.definitions.iter().any(|other| std::ptr::eq(*other, def)) {
            self.definitions.push(def);
            self.tasks.push(RegisteredTask::from_def(def));
        }
    }

    /// Adds built-in tasks. A task of the app with the same name replaces one, and lists do not show them.
    pub(crate) fn builtins(&mut self, defs: &'static [TaskDef]) {
        self.builtins.extend(defs.iter().map(RegisteredTask::from_def));
    }

    /// Adds every `#[task]` function that is linked into this program.
    ///
    /// The linker drops a library crate to which nothing refers, and its tasks with it. Use an item of such a crate, or
    /// add its tasks one by one. A worker prints its tasks when it starts.
    #[cfg(feature = "autodiscover")]
    pub fn discover(&mut self) {
        use crate::task::definition::TaskEntry;
        for TaskEntry(def) in inventory::iter::<TaskEntry> {
            self.def(def);
        }
    }

    /// Adds a task class.
    pub fn task<T: Task>(&mut self, task: T) {
        self.tasks.push(registered(task));
    }

    /// Adds a task whose body is in a program of another language.
    pub fn foreign(&mut self, task: ForeignTask) {
        self.tasks.push(task.into());
    }

    /// Resolves the options of every task. `annotations` returns what `task_annotations` has for a name.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for two tasks of one name, and for options that are impossible.
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

    /// The app's own tasks, sorted by name, without the built-in ones.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RegisteredTask>> {
        self.in_order.iter()
    }

    /// How many tasks the app has. Aliases and built-in tasks are not counted.
    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    /// Whether the app has no tasks of its own.
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    /// Checks that the app has the state that its tasks need. A worker calls it when it starts.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], which names each task and each missing type.
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
        let context = format!(
            "start a worker without state that its tasks need: {}; add each type with AppBuilder::state",
            missing.join(", ")
        );
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
    let described = |task: &RegisteredTask| format!("{} (defined at {})", task.name, task.location);
    let context =
        format!("register two tasks under the name \"{name}\": {} and {}", described(first), described(second));
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
            options: || TaskOptions { priority: Some(3.into()), ..TaskOptions::NEW },
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
        for (other, location) in [(&SAME, "b.rs:2"), (&ALIAS, "c.rs:3")] {
            let error = build(&[&ADD, other]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let text = error.to_string();
            assert!(text.contains("a.rs:1") && text.contains(location), "{text}");
        }
        let text = build(&[&TWICE]).unwrap_err().to_string();
        assert!(text.contains("proj.twice") && text.contains("d.rs:4"), "{text}");
    }

    #[test]
    fn the_same_definition_may_be_added_again() {
        assert_eq!(build(&[&ADD, &ADD]).unwrap().len(), 1);
    }

    #[test]
    fn annotations_replace_the_attributes_options_and_settings_fill_the_others() {
        let mut builder = RegistryBuilder::new();
        builder.def(&ADD);
        let defaults = TaskDefaults { track_started: true, ..TaskDefaults::default() };
        let annotations = |name: &str| match name {
            "proj.add" => TaskOptions { time_limit: Some(Duration::from_secs(9)), ..TaskOptions::NEW },
            _ => TaskOptions::NEW,
        };
        let registry = builder.build(&defaults, annotations).unwrap();
        let task = registry.get("proj.add").unwrap();
        assert_eq!(task.options.priority, Some(3.into()));
        assert_eq!(task.effective.time_limit, Some(Duration::from_secs(9)));
        assert!(task.effective.track_started);
    }

    #[test]
    fn an_error_about_a_bad_option_names_the_task() {
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
