//! Who leads: one at a time, and the next without delay where the last has said goodbye.

use std::sync::Arc;
use std::time::Duration;

use super::api_server::ApiServer;
use crate::lease::{Election, LeaseAttempt};
use crate::settings::LeaseSettings;

fn election(api: &Arc<ApiServer>, identity: &str, duration: Duration) -> Election {
    let settings = LeaseSettings {
        namespace: "shop".to_owned(),
        name: "ottla".to_owned(),
        identity: identity.to_owned(),
        duration,
        renew: duration / 3,
    };
    Election::new(api.client(), settings)
}

#[tokio::test]
async fn one_holds_until_it_lets_go() {
    let api = Arc::new(ApiServer::default());
    let (mut a, mut b) =
        (election(&api, "a", Duration::from_secs(60)), election(&api, "b", Duration::from_secs(60)));
    assert_eq!(a.attempt().await.unwrap(), LeaseAttempt::Holding);
    assert_eq!(b.attempt().await.unwrap(), LeaseAttempt::Other);
    assert_eq!(a.attempt().await.unwrap(), LeaseAttempt::Holding);
    assert_eq!(b.attempt().await.unwrap(), LeaseAttempt::Other);
    a.release().await;
    let answered = std::sync::atomic::AtomicBool::new(false);
    b.acquire(&answered).await;
    assert!(answered.into_inner());
    assert_eq!(b.attempt().await.unwrap(), LeaseAttempt::Holding);
    assert_eq!(a.attempt().await.unwrap(), LeaseAttempt::Other);
}

#[tokio::test]
async fn a_silent_holder_is_replaced_after_the_lease() {
    let api = Arc::new(ApiServer::default());
    let (mut a, mut b) = (election(&api, "a", Duration::ZERO), election(&api, "b", Duration::ZERO));
    assert_eq!(a.attempt().await.unwrap(), LeaseAttempt::Holding);
    // A record that was never seen before counts as fresh, whatever its time says.
    assert_eq!(b.attempt().await.unwrap(), LeaseAttempt::Other);
    assert_eq!(b.attempt().await.unwrap(), LeaseAttempt::Holding);
    assert_eq!(a.attempt().await.unwrap(), LeaseAttempt::Other);
}
