//! Map keys as Python's `json.dumps` writes them: always as text, also numbers, booleans and null.

use serde::ser::{Impossible, Serialize, Serializer};

use crate::json::serialize::{PythonSerializer, SerError};

/// How [`KeySerializer`] writes a text.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum TextForm {
    /// In quotes, as a key.
    Quoted,
    /// Unchanged, since it is JSON already.
    Raw,
}

/// Serializes the key of a map. It also writes JSON text unchanged, since serde passes that on as a text.
pub(crate) struct KeySerializer<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) form: TextForm,
}

type Result<T = (), E = SerError> = std::result::Result<T, E>;

fn refuse<T>(what: &str) -> Result<T> {
    Err(SerError(format!("{what} cannot be a map's key")))
}

impl KeySerializer<'_> {
    fn quote<T: Serialize>(self, value: T) -> Result {
        self.out.push(b'"');
        value.serialize(PythonSerializer::new(self.out))?;
        self.out.push(b'"');
        Ok(())
    }
}

macro_rules! quoted {
    ($($method:ident $type:ty)*) => {$(
        fn $method(self, value: $type) -> Result {
            self.quote(value)
        }
    )*};
}

impl Serializer for KeySerializer<'_> {
    type Ok = ();
    type Error = SerError;
    type SerializeSeq = Impossible<(), SerError>;
    type SerializeTuple = Impossible<(), SerError>;
    type SerializeTupleStruct = Impossible<(), SerError>;
    type SerializeTupleVariant = Impossible<(), SerError>;
    type SerializeMap = Impossible<(), SerError>;
    type SerializeStruct = Impossible<(), SerError>;
    type SerializeStructVariant = Impossible<(), SerError>;

    quoted! {
        serialize_bool bool
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64 serialize_i128 i128
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64 serialize_u128 u128
        serialize_f32 f32 serialize_f64 f64
    }

    fn serialize_str(self, value: &str) -> Result {
        match self.form {
            TextForm::Quoted => value.serialize(PythonSerializer::new(self.out)),
            TextForm::Raw => {
                self.out.extend_from_slice(value.as_bytes());
                Ok(())
            }
        }
    }

    fn serialize_char(self, value: char) -> Result {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result {
        match std::str::from_utf8(value) {
            Ok(text) => self.serialize_str(text),
            Err(_) => refuse("bytes"),
        }
    }

    fn serialize_none(self) -> Result {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result {
        self.out.extend_from_slice(b"\"null\"");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result {
        refuse("a variant that carries something")
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Self::SerializeSeq> {
        refuse("a list")
    }

    fn serialize_tuple(self, _len: usize) -> Result<Self::SerializeTuple> {
        refuse("a list")
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Self::SerializeTupleStruct> {
        refuse("a list")
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant> {
        refuse("a list")
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap> {
        refuse("a map")
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self::SerializeStruct> {
        refuse("a map")
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant> {
        refuse("a map")
    }
}
