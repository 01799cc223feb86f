//! The one place in which a panic ends no more than what panicked: the decoding of a request.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, which changes nothing that outlives it; none if it panics.
pub fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = IS_CONTAINED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_CONTAINED.set(before);
    done.ok()
}

/// Whether a panic on this thread, now, is contained: for a panic hook.
pub fn is_contained() -> bool {
    IS_CONTAINED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_work_alone() {
        assert_eq!(contained(|| 7), Some(7));
        let inside = contained(|| {
            assert!(is_contained());
            panic!("a bug in decoding")
        });
        assert_eq!((inside, is_contained()), (None::<u32>, false));
    }
}
