//! A value that is set once.

/// The standard library's, with a place to switch before each look.
#[derive(Debug)]
pub(crate) struct OnceLock<T>(std::sync::OnceLock<T>);

impl<T> OnceLock<T> {
    pub(crate) const fn new() -> Self {
        Self(std::sync::OnceLock::new())
    }

    pub(crate) fn get(&self) -> Option<&T> {
        super::step();
        self.0.get()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        super::step();
        self.0.set(value)
    }
}
