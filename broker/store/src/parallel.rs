//! Doing the same for many things at once: what waits for the disk waits together.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Calls `act` for each item from up to `threads` threads. One thread means in order, on the caller's.
///
/// # Errors
/// The first error; items that weren't begun by then are left out.
pub(crate) fn each<T: Sync, E: Send>(
    items: &[T],
    threads: usize,
    act: impl Fn(&T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    if threads < 2 || items.len() < 2 {
        return items.iter().try_for_each(act);
    }
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = act(item) {
                next.store(items.len(), Ordering::Relaxed);
                failure.lock().get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(work);
        }
        work();
    });
    failure.into_inner().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_done_once_and_an_error_ends_it() {
        let items: Vec<usize> = (0..100).collect();
        for threads in [1, 4] {
            let done = Mutex::new(Vec::new());
            let all = each(&items, threads, |item| {
                done.lock().push(*item);
                Ok::<_, ()>(())
            });
            assert_eq!(all, Ok(()));
            let mut done = done.into_inner();
            done.sort_unstable();
            assert_eq!(done, items);
            assert_eq!(each(&items, threads, |item| if *item == 50 { Err(*item) } else { Ok(()) }), Err(50));
        }
    }
}
