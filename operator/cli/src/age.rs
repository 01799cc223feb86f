//! How long ago something was, as kubectl says it.

use k8s_openapi::jiff::Timestamp;

/// The time since an RFC 3339 `instant`, in at most two units.
pub fn age(instant: &str) -> String {
    match instant.parse::<Timestamp>() {
        Ok(then) => in_words(Timestamp::now().as_second() - then.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

fn in_words(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => format!("{minutes}m{}s", seconds % 60),
        600..10_800 => format!("{minutes}m"),
        10_800..172_800 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let ages = [(-5, "0s"), (90, "90s"), (150, "2m30s"), (3600, "60m"), (90_000, "25h"), (200_000, "2d")];
        for (seconds, words) in ages {
            assert_eq!(in_words(seconds), words);
        }
    }

    #[test]
    fn what_is_no_time_has_no_age() {
        assert_eq!(age("yesterday"), "<unknown>");
        assert_eq!(age("1970-01-01T00:00:00Z").chars().last(), Some('d'));
    }
}
