//! The errors for serializers and compressions that are refused or unknown. They say what to do instead.

use crate::error::{Error, ErrorKind};

/// The names of pickle, in settings and messages.
const PICKLE: [&str; 3] = ["pickle", "application/x-python-serialize", "application/x-python-pickle"];

/// The error for a serializer that is never used: pickle, and `auth`, whose signatures could not be checked. `None` for
/// others.
pub(crate) fn refused_serializer(name: &str) -> Option<Error> {
    let is = |names: &[&str]| names.iter().any(|own| own.eq_ignore_ascii_case(name));
    if is(&PICKLE) {
        return Some(Error::new(
            ErrorKind::NotAccepted,
            format!(
                "use the serializer `{name}`: pickle runs whatever code its bytes name, so it is neither written nor read \
                 here; use json, msgpack or yaml on both sides"
            ),
        ));
    }
    if is(&["auth", "application/data"]) {
        return Some(Error::new(
            ErrorKind::UnknownSerializer,
            format!(
                "use the serializer `{name}`: signed messages (auth) are not supported, since their signature could not \
                 be checked; use json, msgpack or yaml on both sides"
            ),
        ));
    }
    None
}

/// The error for an unknown serializer.
pub(crate) fn unknown_serializer<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let feature = [("msgpack", "application/x-msgpack"), ("yaml", "application/x-yaml")]
        .iter()
        .find(|(short, mime)| short.eq_ignore_ascii_case(name) || mime.eq_ignore_ascii_case(name))
        .map(|(short, _)| *short);
    let what = match feature {
        Some(feature) => format!("find the serializer `{name}`: the feature `{feature}` is off in this build"),
        None => format!("find the serializer `{name}`: known are {}", known.collect::<Vec<_>>().join(", ")),
    };
    Error::new(ErrorKind::UnknownSerializer, what)
}

/// The error for an unknown compression.
pub(crate) fn unknown_compression<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let known: Vec<&str> = known.collect();
    let what = if known.is_empty() {
        format!("find the compression `{name}`: the feature `compression` is off in this build")
    } else {
        format!("find the compression `{name}`: known are {}", known.join(", "))
    };
    Error::new(ErrorKind::UnknownCompression, what)
}
