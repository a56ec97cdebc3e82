//! What is written around the code and in it: documents, comments, texts, and calls that have no place.

pub(crate) mod calls;
pub(crate) mod causes;
pub(crate) mod documents;
pub(crate) mod examples;
pub(crate) mod links;
pub(crate) mod machine;
pub(crate) mod markdown;
pub(crate) mod outside;
pub(crate) mod width;
