//! What things are called: no empty names, the glossary's words, and one meaning for a name.

pub(crate) mod empty_names;
pub(crate) mod glossary;
pub(crate) mod one_meaning;
pub(crate) mod split;
