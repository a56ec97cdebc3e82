//! The wire forms of messages and results: written straight into bytes, read without a JSON tree.

/// serde for a type that has a wire form: it passes as one JSON text.
macro_rules! serde_by_json {
    ($($type:ty)*) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let text = String::from_utf8(self.to_json()).map_err(serde::ser::Error::custom)?;
                crate::value::serialize::serialize_raw(&text, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let json = crate::json::text::Json::deserialize(deserializer)?;
                Self::from_json(json.as_bytes()).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

pub(crate) use serde_by_json;
