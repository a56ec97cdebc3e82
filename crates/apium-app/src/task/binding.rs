//! How the arguments of a message are bound to a task's parameters: by the rules of a call in Python, with Python's
//! error texts.

use std::borrow::Cow;
use std::fmt::Write as _;

use apium_protocol::json::text::Json;
use serde::de::DeserializeOwned;

use crate::context::context::Ctx;
use crate::failure::Failure;
use crate::task::argument_codec::{ArgumentCodec, decode};
use crate::task::arguments::{Args, Keyword, Kwargs, Parameter, ParameterList};
use crate::task_error::{TaskError, TaskErrorKind, TaskResult};

/// The arguments of one call, each with its parameter. They borrow from the request.
pub struct Bound<'a, const N: usize> {
    list: &'a ParameterList,
    slots: [Option<&'a Json>; N],
    args: &'a [Json],
    kwargs: &'a [(String, Json)],
}

impl<'a, const N: usize> Bound<'a, N> {
    /// Binds the arguments of the context's request. `N` is the number of named parameters.
    ///
    /// # Errors
    /// A failure of class `builtins.TypeError` when there are too many or too few arguments, or one of an unknown name.
    pub fn of(list: &'a ParameterList, ctx: &'a Ctx) -> TaskResult<Self> {
        let body = &ctx.request().body;
        Self::bind(list, &body.args, &body.kwargs)
    }

    pub(crate) fn bind(list: &'a ParameterList, args: &'a [Json], kwargs: &'a [(String, Json)]) -> TaskResult<Self> {
        let mut slots = [None; N];
        fill(list, args, kwargs, &mut slots).map_err(|text| type_error(&text))?;
        Ok(Self { list, slots, args: args.get(list.positional()..).unwrap_or_default(), kwargs })
    }

    /// The value of parameter `index`.
    ///
    /// # Errors
    /// A failure of class `builtins.TypeError` that names the parameter and what was expected.
    pub fn required<T>(&self, codec: &ArgumentCodec<T>, index: usize) -> TaskResult<T> {
        match self.slots.get(index).copied().flatten() {
            Some(json) => (codec.read)(json).map_err(|reason| self.wrong_type(index, &reason)),
            // `fill` has checked that every required parameter is there.
            None => Err(type_error(&missing(self.list, &[index]))),
        }
    }

    /// The value of parameter `index`, or `default()` when the caller left it out.
    ///
    /// # Errors
    /// As [`required`](Self::required).
    pub fn optional<T>(&self, codec: &ArgumentCodec<T>, index: usize, default: fn() -> T) -> TaskResult<T> {
        match self.slots.get(index).copied().flatten() {
            Some(json) => (codec.read)(json).map_err(|reason| self.wrong_type(index, &reason)),
            None => Ok(default()),
        }
    }

    /// The value of parameter `index`. One that was left out is read as `null`.
    ///
    /// # Errors
    /// As [`required`](Self::required).
    pub fn nullable<T: DeserializeOwned + 'static>(&self, index: usize) -> TaskResult<T> {
        static NULL: Json = Json::NULL;
        let json = self.slots.get(index).copied().flatten().unwrap_or(&NULL);
        decode(json).map_err(|reason| self.wrong_type(index, &reason))
    }

    /// The value of parameter `index`, if the caller gave one.
    ///
    /// # Errors
    /// As [`required`](Self::required).
    pub fn keyword<T>(&self, codec: &ArgumentCodec<T>, index: usize) -> TaskResult<Keyword<T>> {
        match self.slots.get(index).copied().flatten() {
            Some(_) => self.required(codec, index).map(|value| Keyword(Some(value))),
            None => Ok(Keyword(None)),
        }
    }

    /// The positional arguments after those of the named parameters.
    pub fn rest(&self) -> Args {
        Args(self.args.to_vec())
    }

    /// The keyword arguments that are not named parameters.
    pub fn keywords(&self) -> Kwargs {
        let unknown = self.kwargs.iter().filter(|(key, _)| position(self.list, key).is_none());
        Kwargs(unknown.cloned().collect())
    }

    fn wrong_type(&self, index: usize, reason: &str) -> TaskError {
        let name = self.list.named.get(index).map_or("?", |parameter| parameter.name);
        type_error(&format!("{}() argument '{name}': {reason}", self.list.function))
    }
}

fn type_error(text: &str) -> TaskError {
    TaskError::new(TaskErrorKind::Failure(Failure::argument_mismatch(text)))
}

fn position(list: &ParameterList, name: &str) -> Option<usize> {
    list.named.iter().position(|parameter| parameter.name == name)
}

/// Puts each argument into its slot. The checks are in the order of Python: unknown and repeated names, then too many
/// positional arguments, then missing arguments, those by position first.
fn fill<'a>(
    list: &ParameterList,
    args: &'a [Json],
    kwargs: &'a [(String, Json)],
    slots: &mut [Option<&'a Json>],
) -> Result<(), String> {
    debug_assert_eq!(slots.len(), list.named.len(), "the macro counts the parameters");
    let positional = list.positional();
    for (slot, arg) in slots.iter_mut().take(positional).zip(args) {
        *slot = Some(arg);
    }
    for (name, value) in kwargs {
        match position(list, name) {
            Some(index) => match slots.get_mut(index) {
                Some(slot @ None) => *slot = Some(value),
                _ => return Err(format!("{}() got multiple values for argument '{name}'", list.function)),
            },
            None if list.var_kwargs => {}
            None => return Err(format!("{}() got an unexpected keyword argument '{name}'", list.function)),
        }
    }
    if args.len() > positional && !list.var_args {
        let by_keyword = slots.iter().skip(positional).flatten().count();
        return Err(too_many(list, args.len(), by_keyword));
    }
    if slots.iter().all(Option::is_some) {
        return Ok(());
    }
    let absent = |(slot, parameter): (&Option<&Json>, &Parameter)| slot.is_none() && !parameter.optional;
    let absent: Vec<usize> =
        slots.iter().zip(list.named).enumerate().filter(|(_, pair)| absent(*pair)).map(|(index, _)| index).collect();
    if absent.is_empty() { Ok(()) } else { Err(missing(list, &absent)) }
}

fn too_many(list: &ParameterList, given: usize, by_keyword: usize) -> String {
    let by_position = list.named.get(..list.positional()).unwrap_or_default();
    let most = by_position.len();
    let least = by_position.iter().filter(|parameter| !parameter.optional).count();
    let (takes, several): (Cow<'_, str>, bool) = match least == most {
        true => (most.to_string().into(), most != 1),
        false => (format!("from {least} to {most}").into(), true),
    };
    let s = |several: bool| if several { "s" } else { "" };
    let were_given = match by_keyword {
        0 if given == 1 => "1 was given".to_owned(),
        0 => format!("{given} were given"),
        _ => format!(
            "{given} positional argument{} (and {by_keyword} keyword-only argument{}) were given",
            s(given != 1),
            s(by_keyword != 1)
        ),
    };
    format!("{}() takes {takes} positional argument{} but {were_given}", list.function, s(several))
}

/// As in Python the text names parameters by keyword only when none by position is missing.
fn missing(list: &ParameterList, absent: &[usize]) -> String {
    let positional = list.positional();
    let by_position: Vec<usize> = absent.iter().copied().filter(|index| *index < positional).collect();
    let (absent, kind) = match by_position.is_empty() {
        true => (absent, "keyword-only"),
        false => (by_position.as_slice(), "positional"),
    };
    let plural = if absent.len() == 1 { "" } else { "s" };
    let mut text = format!("{}() missing {} required {kind} argument{plural}: ", list.function, absent.len());
    for (nth, index) in absent.iter().enumerate() {
        let separator = match nth {
            0 => "",
            _ if absent.len() == 2 => " and ",
            _ if nth + 1 == absent.len() => ", and ",
            _ => ", ",
        };
        let name = list.named.get(*index).map_or("?", |parameter| parameter.name);
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}'{name}'");
    }
    text
}

#[cfg(test)]
mod tests {
    use apium_protocol::json::text::Json;

    use super::Bound;
    use crate::task::argument_codec::argument_codec;
    use crate::task::arguments::{Parameter, ParameterList};
    use crate::task_error::{TaskError, TaskErrorKind};

    const fn required(name: &'static str) -> Parameter {
        Parameter::required(name)
    }

    const fn optional(name: &'static str) -> Parameter {
        Parameter::optional(name)
    }

    const fn list(function: &'static str, named: &'static [Parameter]) -> ParameterList {
        ParameterList { function, named, var_args: false, var_kwargs: false }
    }

    const NONE: ParameterList = list("noop", &[]);
    const ONE: ParameterList = list("one", &[required("x")]);
    const ADD: ParameterList = list("add", &[required("x"), required("y")]);
    const THREE: ParameterList = list("three", &[required("x"), required("y"), required("z")]);
    const SLEEP: ParameterList = list("sleep", &[required("id"), optional("seconds")]);
    const ECHO: ParameterList = ParameterList { function: "echo", named: &[], var_args: true, var_kwargs: true };
    const KEYED: ParameterList = list(
        "keyed",
        &[required("x"), required("key").by_keyword(), required("level").by_keyword(), optional("n").by_keyword()],
    );
    const AFTER_REST: ParameterList =
        ParameterList { var_args: true, ..list("after_rest", &[required("x"), optional("key").by_keyword()]) };
    const MIXED: ParameterList =
        ParameterList { function: "mixed", named: &[required("x")], var_args: true, var_kwargs: true };

    fn json<T: serde::Serialize>(value: T) -> Json {
        Json::from_serialize(&value).unwrap()
    }

    fn keywords(names: &[&str]) -> Vec<(String, Json)> {
        names.iter().enumerate().map(|(n, name)| ((*name).to_owned(), json(100 + n))).collect()
    }

    fn text(error: TaskError) -> String {
        match error.into_kind() {
            TaskErrorKind::Failure(failure) => {
                let exception = failure.exception();
                assert_eq!(exception.exc_type, "TypeError");
                assert_eq!(exception.exc_module.as_deref(), Some("builtins"));
                exception.exc_message[0].decode().unwrap()
            }
            other => panic!("not a failure: {other:?}"),
        }
    }

    /// The text of the TypeError of a call with `args` positional arguments and these keywords.
    fn refused<const N: usize>(list: &'static ParameterList, args: usize, names: &[&str]) -> String {
        let args: Vec<Json> = (0..args).map(json).collect();
        let kwargs = keywords(names);
        text(Bound::<N>::bind(list, &args, &kwargs).err().expect("the call is refused"))
    }

    #[test]
    fn arguments_bind_by_position_and_by_name() {
        let args = [json(1)];
        let kwargs = keywords(&["y"]);
        let bound = Bound::<2>::bind(&ADD, &args, &kwargs).unwrap();
        assert_eq!(bound.required::<i64>(&argument_codec(), 0).unwrap(), 1);
        assert_eq!(bound.required::<i64>(&argument_codec(), 1).unwrap(), 100);
    }

    #[test]
    fn the_error_texts_are_those_of_python_3_11() {
        assert_eq!(refused::<2>(&ADD, 1, &[]), "add() missing 1 required positional argument: 'y'");
        assert_eq!(refused::<2>(&ADD, 0, &[]), "add() missing 2 required positional arguments: 'x' and 'y'");
        assert_eq!(refused::<2>(&ADD, 0, &["y"]), "add() missing 1 required positional argument: 'x'");
        assert_eq!(refused::<3>(&THREE, 0, &[]), "three() missing 3 required positional arguments: 'x', 'y', and 'z'");
        assert_eq!(refused::<2>(&ADD, 3, &[]), "add() takes 2 positional arguments but 3 were given");
        assert_eq!(refused::<1>(&ONE, 2, &[]), "one() takes 1 positional argument but 2 were given");
        assert_eq!(refused::<0>(&NONE, 1, &[]), "noop() takes 0 positional arguments but 1 was given");
        assert_eq!(refused::<2>(&SLEEP, 3, &[]), "sleep() takes from 1 to 2 positional arguments but 3 were given");
        assert_eq!(refused::<2>(&ADD, 2, &["z"]), "add() got an unexpected keyword argument 'z'");
        assert_eq!(refused::<2>(&ADD, 2, &["x"]), "add() got multiple values for argument 'x'");
    }

    #[test]
    fn names_are_checked_before_counts_as_python_does() {
        assert_eq!(refused::<2>(&ADD, 3, &["z"]), "add() got an unexpected keyword argument 'z'");
        assert_eq!(refused::<2>(&ADD, 0, &["z"]), "add() got an unexpected keyword argument 'z'");
        assert_eq!(refused::<2>(&ADD, 1, &["x"]), "add() got multiple values for argument 'x'");
    }

    #[test]
    fn a_parameter_by_keyword_takes_no_positional_argument() {
        let args = [json(1)];
        let kwargs = keywords(&["level", "key"]);
        let bound = Bound::<4>::bind(&KEYED, &args, &kwargs).unwrap();
        assert_eq!(
            (
                bound.required::<i64>(&argument_codec(), 1).unwrap(),
                bound.required::<i64>(&argument_codec(), 2).unwrap()
            ),
            (101, 100)
        );
        assert_eq!(bound.optional(&argument_codec(), 3, || 7).unwrap(), 7);
        let args = [json(1), json(2), json(3)];
        let bound = Bound::<2>::bind(&AFTER_REST, &args, &kwargs[1..]).unwrap();
        assert_eq!(
            (bound.rest().0.as_slice(), bound.required::<i64>(&argument_codec(), 1).unwrap()),
            (&args[1..], 101)
        );
        assert_eq!(bound.keywords().0, []);
    }

    #[test]
    fn the_error_texts_about_parameters_by_keyword_are_those_of_python_3_11() {
        let table = [
            (refused::<4>(&KEYED, 1, &[]), "keyed() missing 2 required keyword-only arguments: 'key' and 'level'"),
            (refused::<4>(&KEYED, 1, &["key"]), "keyed() missing 1 required keyword-only argument: 'level'"),
            (refused::<4>(&KEYED, 0, &["key"]), "keyed() missing 1 required positional argument: 'x'"),
            (refused::<4>(&KEYED, 2, &[]), "keyed() takes 1 positional argument but 2 were given"),
            (
                refused::<4>(&KEYED, 2, &["key"]),
                "keyed() takes 1 positional argument but 2 positional arguments (and 1 keyword-only argument) were given",
            ),
            (
                refused::<4>(&KEYED, 3, &["key", "level"]),
                "keyed() takes 1 positional argument but 3 positional arguments (and 2 keyword-only arguments) were given",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_left_out_optional_parameter_takes_its_default() {
        let args = [json("id")];
        let bound = Bound::<2>::bind(&SLEEP, &args, &[]).unwrap();
        assert_eq!(bound.optional(&argument_codec(), 1, || 1.5).unwrap(), 1.5);
        let args = [json("id"), json(3)];
        let bound = Bound::<2>::bind(&SLEEP, &args, &[]).unwrap();
        assert_eq!(bound.optional(&argument_codec(), 1, || 1.5).unwrap(), 3.0);
    }

    #[test]
    fn arguments_without_a_named_parameter_are_collected() {
        let args = [json(1), json("a"), json(null())];
        let kwargs = keywords(&["k", "l"]);
        let bound = Bound::<0>::bind(&ECHO, &args, &kwargs).unwrap();
        assert_eq!(bound.rest().0, args);
        assert_eq!(bound.keywords().0, kwargs);
        let bound = Bound::<1>::bind(&MIXED, &args, &kwargs).unwrap();
        assert_eq!(bound.rest().0, args[1..]);
        let kwargs = keywords(&["x", "k"]);
        let bound = Bound::<1>::bind(&MIXED, &[], &kwargs).unwrap();
        assert_eq!(bound.required::<i64>(&argument_codec(), 0).unwrap(), 100);
        assert_eq!(bound.keywords().0, kwargs[1..]);
    }

    fn null() -> Option<u8> {
        None
    }

    #[test]
    fn a_wrong_type_names_the_argument_and_what_was_expected() {
        let args = [json(1), json("two")];
        let bound = Bound::<2>::bind(&ADD, &args, &[]).unwrap();
        let error = text(bound.required::<i64>(&argument_codec(), 1).unwrap_err());
        assert_eq!(error, "add() argument 'y': invalid type: string \"two\", expected i64");
    }
}
