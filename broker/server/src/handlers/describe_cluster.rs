//! DescribeCluster: the brokers, for administrators.

use std::borrow::Cow;

use ottla_wire::ErrorCode;
use ottla_wire::apis::DescribeCluster;
use ottla_wire::messages::{DescribeClusterBroker, DescribeClusterResponse};

use super::rights::CLUSTER_OPERATIONS;
use crate::request::{Begun, Call};

/// The endpoints of brokers; those of controllers aren't told, as they don't speak this protocol.
const ENDPOINTS_OF_BROKERS: i8 = 1;

/// Answers from the image.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<DescribeCluster>()?;
        if request.endpoint_type != ENDPOINTS_OF_BROKERS {
            return call.respond::<DescribeCluster>(&DescribeClusterResponse {
                error_code: ErrorCode::UnsupportedEndpointType.code(),
                error_message: Some(Cow::Borrowed("only the brokers' endpoints can be described")),
                endpoint_type: request.endpoint_type,
                ..Default::default()
            });
        }
        let image = call.broker.image();
        let all = image.brokers.values().map(|broker| &**broker);
        let brokers = all
            .filter(|broker| !broker.fenced || request.include_fenced_brokers)
            .filter_map(|broker| {
                let endpoint = broker.listener(&call.context.listener)?;
                Some(DescribeClusterBroker {
                    broker_id: broker.id.0,
                    host: Cow::Owned(endpoint.host.clone()),
                    port: i32::from(endpoint.port),
                    rack: broker.rack.clone().map(Cow::Owned),
                    is_fenced: broker.fenced,
                })
            })
            .collect();
        call.respond::<DescribeCluster>(&DescribeClusterResponse {
            endpoint_type: request.endpoint_type,
            cluster_id: Cow::Owned(image.cluster_id.to_string()),
            controller_id: call.broker.controller_for_clients(&image),
            brokers,
            cluster_authorized_operations: match request.include_cluster_authorized_operations {
                true => CLUSTER_OPERATIONS,
                false => i32::MIN,
            },
            ..Default::default()
        })
    })
}
