//! Typed slots: values by their Rust type, made when they are first asked for.

use std::any::{Any, TypeId};

/// Values that host functions keep in a store, one of each type.
///
/// A unit has one set for all its components and one for each of them. The type of a value is its key, so it is private to
/// the crate that keeps it.
#[derive(Default)]
pub struct Slots(Vec<(TypeId, Box<dyn Any + Send>)>);

impl Slots {
    /// The value of type `T`, made by `make` when it is first asked for.
    #[allow(clippy::missing_panics_doc, reason = "a value stored under a type's id is of that type")]
    pub fn get_or_insert_with<T: Send + 'static>(&mut self, make: impl FnOnce() -> T) -> &mut T {
        let id = TypeId::of::<T>();
        let index = self.0.iter().position(|(other, _)| *other == id).unwrap_or_else(|| {
            self.0.push((id, Box::new(make())));
            self.0.len() - 1
        });
        #[allow(clippy::expect_used, reason = "stored under the id of its own type")]
        self.0[index].1.downcast_mut().expect("a slot holds the type that it is stored under")
    }

    /// The value of type `T`, if it was made.
    pub fn get<T: Send + 'static>(&self) -> Option<&T> {
        self.0.iter().find(|(id, _)| *id == TypeId::of::<T>()).and_then(|(_, value)| value.downcast_ref())
    }
}
