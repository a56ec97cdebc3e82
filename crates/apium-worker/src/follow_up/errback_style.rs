//! The two styles of errbacks. One of the new style is called by the worker of the failed task, with the request, the
//! exception and the traceback. One of the old style is sent as a message, with the id of the failed task.

use apium_app::canvas::node::{Node, TaskKind, TaskNode};
use apium_app::options::call_options::CallOptions;
use apium_app::task::arguments::{Arguments, ParameterList};
use apium_app::task::registry::Registry;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::message::steps_behind::StepsBehind;

use crate::follow_up::links::read_step;

/// The errback as one that the worker calls itself; `None` for one that is sent. As in Celery the worker calls a task
/// of its own that takes more than one argument and no context.
pub(crate) fn called_by_worker<'a>(registry: &Registry, errback: &'a Node) -> Option<&'a TaskNode> {
    let Node::Task(errback @ TaskNode { call, immutable, kind: TaskKind::Plain, .. }) = errback else { return None };
    let parameters = registry.get(&call.task)?.called_with()?;
    let takes_more = match *immutable {
        true => takes_more_than_one(parameters, &Arguments::default()),
        false => takes_more_than_one(parameters, &call.arguments),
    };
    takes_more.then_some(errback)
}

/// Whether a call that has these arguments takes more than one further argument by position. It is counted as Python's
/// `inspect` counts the parameters of `functools.partial`.
fn takes_more_than_one(parameters: &ParameterList, given: &Arguments) -> bool {
    let positional = parameters.positional();
    let by_position = match bound(parameters, given) {
        Some(first_by_name) => {
            // What comes after a parameter that was given by its name can only be given by name, and `*args` is gone.
            if first_by_name < positional {
                return first_by_name.saturating_sub(given.args.len()) > 1;
            }
            given.args.len()
        }
        // The arguments do not fit, so the call will fail whatever it gets. Celery then counts all parameters.
        None => 0,
    };
    parameters.var_args || positional.saturating_sub(by_position) > 1
}

/// The index of the first positional parameter that is given by its name, or the number of parameters if none is;
/// `None` for arguments that do not fit the parameters.
fn bound(parameters: &ParameterList, given: &Arguments) -> Option<usize> {
    let named = parameters.named;
    if given.args.len() > parameters.positional() && !parameters.var_args {
        return None;
    }
    let mut first = named.len();
    for (name, _) in &given.kwargs {
        match named.iter().position(|parameter| parameter.name == name.as_str()) {
            Some(index) if index < given.args.len().min(parameters.positional()) => return None,
            Some(index) => first = first.min(index),
            None if parameters.var_kwargs => {}
            None => return None,
        }
    }
    Some(first)
}

/// Whether this worker calls an errback itself when this body fails, or when the chords fail that fail with it.
pub(crate) fn calls_errbacks(registry: &Registry, body: &Node) -> bool {
    let is_called =
        |errback| Node::from_wire(errback).is_ok_and(|errback| called_by_worker(registry, &errback).is_some());
    if all_links(body).iter().any(is_called) {
        return true;
    }
    let mut outer = Vec::new();
    bodies_behind(body, &mut outer);
    outer.iter().filter_map(|outer| Node::from_wire(outer).ok()).any(|outer| calls_errbacks(registry, &outer))
}

/// The bodies of the chords that wait for what fails with this node.
fn bodies_behind(node: &Node, found: &mut Vec<WireSignature>) {
    if let Some(rare) = node.options().rare.as_ref() {
        found.extend(rare.chord.as_deref().cloned());
        let steps = rare.chain.iter().flat_map(StepsBehind::texts).filter_map(|step| read_step(&step).ok());
        steps.for_each(|step| bodies_behind(&step, found));
    }
    match node {
        Node::Task(_) => {}
        Node::Chain(chain) => chain.steps.iter().for_each(|step| bodies_behind(step, found)),
        Node::Group(group) => group.members.iter().for_each(|member| bodies_behind(member, found)),
        Node::Chord(chord) => bodies_behind(&chord.body, found),
    }
}

/// The errbacks in these options.
pub(crate) fn links(options: &CallOptions) -> Vec<WireSignature> {
    options.rare.as_ref().map(|rare| rare.link_error.clone()).unwrap_or_default()
}

/// The errbacks of a signature: its own, and for a chord those of its body too.
pub(crate) fn own_links(node: &Node) -> Vec<WireSignature> {
    let mut own = links(node.options());
    if let Node::Chord(chord) = node {
        own.extend(own_links(&chord.body));
    }
    own
}

/// The errbacks that run when this body fails because of its header.
pub(crate) fn all_links(body: &Node) -> Vec<WireSignature> {
    let mut all = own_links(body);
    if let Node::Group(group) = body {
        all.extend(group.members.iter().flat_map(own_links));
    }
    all
}

#[cfg(test)]
mod tests {
    use apium_app::task::arguments::{Arguments, Parameter, ParameterList};
    use apium_protocol::json::text::Json;

    use super::takes_more_than_one;

    const fn list(named: &'static [Parameter]) -> ParameterList {
        ParameterList { function: "errback", named, var_args: false, var_kwargs: false }
    }

    const ID: ParameterList = list(&[Parameter::required("id")]);
    const LABEL: ParameterList = list(&[Parameter::required("id"), Parameter::required("label")]);
    const OPTIONAL: ParameterList =
        list(&[Parameter::required("id"), Parameter::required("label"), Parameter::optional("times")]);
    const NEW: ParameterList = list(&[
        Parameter::required("request"),
        Parameter::required("exc"),
        Parameter::required("traceback"),
        Parameter::required("label"),
    ]);
    const KEYWORD_ONLY: ParameterList = list(&[Parameter::required("id"), Parameter::required("label").by_keyword()]);
    const ANY: ParameterList = ParameterList { var_args: true, ..list(&[Parameter::required("label")]) };

    fn given(args: usize, names: &[&str]) -> Arguments {
        let kwargs = names.iter().map(|name| ((*name).to_owned(), Json::NULL)).collect();
        Arguments::new(vec![Json::NULL; args], kwargs)
    }

    /// The expected values are those of Celery's `arity_greater(functools.partial(errback, …), 1)`.
    #[test]
    fn parameters_are_counted_as_python_counts_those_of_a_partial() {
        let table = [
            ("one parameter", ID, given(0, &[]), false),
            ("two", LABEL, given(0, &[]), true),
            ("two, one given by position", LABEL, given(1, &[]), false),
            ("two, the last given by name", LABEL, given(0, &["label"]), false),
            ("what follows a name is given by name", OPTIONAL, given(0, &["label"]), false),
            ("the last one by name", OPTIONAL, given(0, &["times"]), true),
            ("request, exception, traceback and a name", NEW, given(0, &["label"]), true),
            ("a parameter by keyword alone does not count", KEYWORD_ONLY, given(0, &[]), false),
            ("any number", ANY, given(5, &[]), true),
            ("any number, none after a name", ANY, given(0, &["label"]), false),
            ("too many are counted as none", LABEL, given(3, &[]), true),
            ("an unknown name is counted as none", LABEL, given(1, &["what"]), true),
            ("a name that a position has already", LABEL, given(1, &["id"]), true),
        ];
        for (what, parameters, given, more) in table {
            assert_eq!(takes_more_than_one(&parameters, &given), more, "{what}");
        }
    }
}
