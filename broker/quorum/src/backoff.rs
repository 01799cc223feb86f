//! How long to wait before trying again: longer each time, up to a limit, and never quite the same.

use std::time::Duration;

/// A row of pauses for one thing that is tried again and again.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `first` on, doubled each time, up to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// For asking another node: it may come back, or be replaced, at any moment.
    pub const fn for_peers() -> Self {
        Self::new(Duration::from_millis(10), Duration::from_millis(100))
    }

    /// Waits for the next pause.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next_pause(fraction())).await;
    }

    /// Between half of a pause and all of it, so that many who wait for one thing don't come at once.
    fn next_pause(&mut self, fraction: f64) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause / 2 + (pause / 2).mul_f64(fraction)
    }

    /// It worked: the next row starts anew.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A random number from 0 to 1.
pub fn fraction() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_anew() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(10), ms(50));
        for longest in [10, 20, 40, 50, 50] {
            let (low, high) = (backoff.clone().next_pause(0.0), backoff.next_pause(1.0));
            assert_eq!((low, high), (ms(longest) / 2, ms(longest)));
        }
        backoff.reset();
        assert_eq!(backoff.next_pause(1.0), ms(10));
        assert!((0.0..=1.0).contains(&fraction()));
    }
}
