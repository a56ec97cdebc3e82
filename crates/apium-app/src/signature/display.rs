//! Signatures as Celery shows them: `tasks.add(2, 2) | mul(3)`, `group([tasks.add(1, 1), add(2, 2)])`,
//! `%tasks.xsum([…])`.

use apium_protocol::json::text::Json;
use apium_protocol::message::signature::Signature as WireSignature;
use apium_protocol::value::repr::repr_value;

use crate::canvas::node::{Node, TaskKind, TaskNode};

/// A signature in one line. The module of its first task is written once.
pub(crate) fn shown(node: &Node) -> String {
    let mut out = String::new();
    write(node, &mut out);
    without_repeated_module(first_task(node), &out)
}

fn write(node: &Node, out: &mut String) {
    match node {
        Node::Task(task) => write_task(task, None, out),
        Node::Chain(chain) if chain.steps.is_empty() => out.push_str("<chain: empty>"),
        Node::Chain(chain) => joined(&chain.steps, " | ", out),
        Node::Group(group) if group.members.is_empty() => out.push_str("group(<empty>)"),
        Node::Group(group) => {
            out.push_str("group([");
            joined(&group.members, ", ", out);
            out.push_str("])");
        }
        Node::Chord(chord) => {
            out.push('%');
            let header = &chord.header.members;
            match &*chord.body {
                Node::Task(body) => write_task(body, Some(header), out),
                Node::Chain(body) if matches!(body.steps.first(), Some(Node::Task(_))) => {
                    out.push('(');
                    for (place, step) in body.steps.iter().enumerate() {
                        match step {
                            Node::Task(first) if place == 0 => write_task(first, Some(header), out),
                            step => {
                                out.push_str(" | ");
                                write(step, out);
                            }
                        }
                    }
                    out.push(')');
                }
                body => {
                    out.push_str("([");
                    joined(header, ", ", out);
                    out.push_str("] | ");
                    write(body, out);
                    out.push(')');
                }
            }
        }
    }
}

fn joined(nodes: &[Node], between: &str, out: &mut String) {
    for (place, node) in nodes.iter().enumerate() {
        if place > 0 {
            out.push_str(between);
        }
        write(node, out);
    }
}

/// `name(args, key=value)`; of the body of a chord with the header in front of its arguments.
fn write_task(task: &TaskNode, header: Option<&[Node]>, out: &mut String) {
    if let Some((inner, items)) = mapped(task) {
        let star = if task.kind == TaskKind::Starmap { "*" } else { "" };
        out.push_str(&format!("[{inner}({star}x) for x in {}]", repr_value(items)));
        return;
    }
    let arguments = &task.call.arguments;
    out.push_str(&task.call.task);
    out.push('(');
    let mut between = "";
    if let Some(header) = header {
        out.push('[');
        joined(header, ", ", out);
        out.push(']');
        between = ", ";
    }
    for arg in &arguments.args {
        out.push_str(between);
        out.push_str(&repr_value(arg));
        between = ", ";
    }
    for (name, value) in &arguments.kwargs {
        out.push_str(between);
        out.push_str(&format!("{name}={}", repr_value(value)));
        between = ", ";
    }
    out.push(')');
}

/// The inner task of a map or starmap, and what it runs for.
fn mapped(task: &TaskNode) -> Option<(std::sync::Arc<str>, &Json)> {
    if task.kind == TaskKind::Plain {
        return None;
    }
    let named = |name: &str| task.call.arguments.kwargs.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let inner = WireSignature::from_json(named("task")?.as_bytes()).ok()?;
    Some((inner.task, named("it")?))
}

/// The task by whose module the others are shortened: of a chord that of its body.
fn first_task(node: &Node) -> &str {
    match node {
        Node::Task(task) => &task.call.task,
        Node::Chain(chain) => chain.steps.first().map_or("", first_task),
        Node::Group(group) => group.members.first().map_or("", first_task),
        Node::Chord(chord) => first_task(&chord.body),
    }
}

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
