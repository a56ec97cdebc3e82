//! The state an app gives to its tasks: one value per type.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// One value per type, shared by every task of an app (`AppBuilder::state`). Cheap to clone.
#[derive(Clone, Default)]
pub struct StateMap(Arc<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl StateMap {
    /// A map without state.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value. A second one of the same type replaces the first.
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        Arc::make_mut(&mut self.0).insert(TypeId::of::<T>(), Arc::new(value));
        self
    }

    /// The value of a type.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref())
    }

    /// Whether there is a value of that type.
    pub fn contains(&self, type_id: TypeId) -> bool {
        self.0.contains_key(&type_id)
    }
}

impl fmt::Debug for StateMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateMap({} types)", self.0.len())
    }
}

/// A type of state that a task takes. A worker does not start when its app has no value of it.
#[derive(Debug, Clone, Copy)]
pub struct StateNeed {
    name: fn() -> &'static str,
    type_id: fn() -> TypeId,
}

impl StateNeed {
    /// State of type `T`.
    pub const fn of<T: 'static>() -> Self {
        Self { name: std::any::type_name::<T>, type_id: TypeId::of::<T> }
    }

    /// The type's name, for errors.
    pub fn name(&self) -> &'static str {
        (self.name)()
    }

    /// The type.
    pub fn type_id(&self) -> TypeId {
        (self.type_id)()
    }
}

#[cfg(test)]
mod tests {
    use super::StateMap;
    use std::any::TypeId;

    #[test]
    fn one_value_per_type_and_the_last_one_wins() {
        let states = StateMap::new().with(1_u8).with("text").with(2_u8);
        assert_eq!(states.get::<u8>(), Some(&2));
        assert_eq!(states.get::<&str>(), Some(&"text"));
        assert_eq!(states.get::<u16>(), None);
        assert!(states.contains(TypeId::of::<u8>()) && !states.contains(TypeId::of::<u16>()));
    }

    #[test]
    fn a_clone_keeps_what_it_had() {
        let few = StateMap::new().with(1_u8);
        let more = few.clone().with(1_u16);
        assert!(few.get::<u16>().is_none());
        assert!(more.get::<u8>().is_some());
    }
}
