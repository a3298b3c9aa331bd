//! Views: how a host function reaches the data of the component that calls it.
//!
//! Generated bindings take a plain function that cannot capture, so the caller's slot is part of the function's type: a table
//! of tiny functions with a const generic slot each serves every component, and no binding is multiplied.

use wasmtime::component::HasData;

use super::{MAX_SLOTS, Scope, StoreData};

/// Makes the data of one set of generated bindings from the calling component's [`Scope`].
///
/// ```
/// use wasmtime::component::HasData;
/// use wharf::{Scope, View};
///
/// struct Greeting(String);
/// struct Greeter;
///
/// impl HasData for Greeter {
///     type Data<'a> = &'a Greeting;
/// }
///
/// impl View for Greeter {
///     type Of = Greeter;
///     fn view(scope: Scope<'_>) -> &Greeting {
///         scope.binding()
///     }
/// }
/// ```
pub trait View: 'static {
    /// The bindings that the data is for.
    type Of: HasData;

    /// The data of the calling component.
    fn view(scope: Scope<'_>) -> <Self::Of as HasData>::Data<'_>;
}

/// The function through which generated bindings reach their data.
pub type Getter<V> = for<'a> fn(&'a mut StoreData) -> <<V as View>::Of as HasData>::Data<'a>;

fn get<V: View, const SLOT: usize>(data: &mut StoreData) -> <V::Of as HasData>::Data<'_> {
    V::view(data.scope(SLOT))
}

/// The getters of one view, by slot.
struct Getters<V>(std::marker::PhantomData<V>);

impl<V: View> Getters<V> {
    const ALL: [Getter<V>; MAX_SLOTS] = seq_macro::seq!(N in 0..128 { [#(get::<V, N>,)*] });
}

/// The getter of a slot.
///
/// # Panics
/// When `slot` is not below [`MAX_SLOTS`], which linking checks first.
pub(crate) fn getter<V: View>(slot: usize) -> Getter<V> {
    Getters::<V>::ALL[slot]
}
