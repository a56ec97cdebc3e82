//! Signatures as Celery's `repr` shows them: `tasks.add(2, 2) | mul(3)`, `group([tasks.add(1, 1), add(2, 2)])`,
//! `%tasks.xsum([…])`.

use std::sync::Arc;

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::value::repr::repr_value;

use crate::canvas::node::{Node, TaskKind, TaskNode};

/// A signature in one line. The module of its first task is written only once.
pub(crate) fn repr(node: &Node) -> String {
    let mut out = String::new();
    write_node(node, &mut out);
    without_repeated_module(first_task(node), &out)
}

fn write_node(node: &Node, out: &mut String) {
    match node {
        Node::Task(task) => write_task(task, None, out),
        Node::Chain(chain) if chain.steps.is_empty() => out.push_str("<chain: empty>"),
        Node::Chain(chain) => write_list(&chain.steps, " | ", out),
        Node::Group(group) if group.members.is_empty() => out.push_str("group(<empty>)"),
        Node::Group(group) => {
            out.push_str("group([");
            write_list(&group.members, ", ", out);
            out.push_str("])");
        }
        Node::Chord(chord) => {
            out.push('%');
            let header = &chord.header.members;
            match &*chord.body {
                Node::Task(body) => write_task(body, Some(header), out),
                Node::Chain(body) if matches!(body.steps.first(), Some(Node::Task(_))) => {
                    out.push('(');
                    for (index, step) in body.steps.iter().enumerate() {
                        match step {
                            Node::Task(first) if index == 0 => write_task(first, Some(header), out),
                            step => {
                                out.push_str(" | ");
                                write_node(step, out);
                            }
                        }
                    }
                    out.push(')');
                }
                body => {
                    out.push_str("([");
                    write_list(header, ", ", out);
                    out.push_str("] | ");
                    write_node(body, out);
                    out.push(')');
                }
            }
        }
    }
}

fn write_list(nodes: &[Node], separator: &str, out: &mut String) {
    for (index, node) in nodes.iter().enumerate() {
        if index > 0 {
            out.push_str(separator);
        }
        write_node(node, out);
    }
}

/// Writes `name(args, key=value)`. The body of a chord has the list of the header's tasks in front of its arguments.
fn write_task(task: &TaskNode, header: Option<&[Node]>, out: &mut String) {
    if let Some((inner, items)) = mapped(task) {
        let star = if task.kind == TaskKind::Starmap { "*" } else { "" };
        out.push_str(&format!("[{inner}({star}x) for x in {}]", repr_value(items)));
        return;
    }
    let arguments = &task.call.arguments;
    out.push_str(&task.call.task);
    out.push('(');
    let mut separator = "";
    if let Some(header) = header {
        out.push('[');
        write_list(header, ", ", out);
        out.push(']');
        separator = ", ";
    }
    for arg in &arguments.args {
        out.push_str(separator);
        out.push_str(&repr_value(arg));
        separator = ", ";
    }
    for (name, value) in &arguments.kwargs {
        out.push_str(separator);
        out.push_str(&format!("{name}={}", repr_value(value)));
        separator = ", ";
    }
    out.push(')');
}

/// The inner task and the items of a map or a starmap.
fn mapped(task: &TaskNode) -> Option<(Arc<str>, &Json)> {
    if task.kind == TaskKind::Plain {
        return None;
    }
    let kwarg = |name: &str| task.call.arguments.kwargs.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let inner = WireSignature::from_json(kwarg("task")?.as_bytes()).ok()?;
    Some((inner.task, kwarg("it")?))
}

/// The name of the first task; of a chord that of its body.
fn first_task(node: &Node) -> &str {
    match node {
        Node::Task(task) => &task.call.task,
        Node::Chain(chain) => chain.steps.first().map_or("", first_task),
        Node::Group(group) => group.members.first().map_or("", first_task),
        Node::Chord(chord) => first_task(&chord.body),
    }
}

/// Removes the module of `task` from `text`, but for its first occurrence.
fn without_repeated_module(task: &str, text: &str) -> String {
    let Some((module, _)) = task.rsplit_once('.') else { return text.to_owned() };
    let module = format!("{module}.");
    match text.find(&module) {
        Some(at) => {
            let (first, rest) = text.split_at(at + module.len());
            format!("{first}{}", rest.replace(&module, ""))
        }
        None => text.to_owned(),
    }
}
