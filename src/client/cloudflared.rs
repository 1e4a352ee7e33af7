use std::net::SocketAddr; use std::time::Duration;
pub const USUAL_PORTS: std::ops::RangeInclusive<u16> = 20241..=20245;
pub struct SocketOwner { pub uid: u32 }
pub enum OwnerError { NotListening, Other }
pub enum ReadyError { Refused, Reset, TimedOut, NotCloudflared }
pub struct ReadyAnswer { pub connections: u8, pub connector_id: String }
#[derive(Default)] pub struct CountersSeen { pub total_requests: u64, pub request_errors: u64, pub register_success: u64, pub register_fail: u64 }
pub fn socket_owner(_: SocketAddr) -> Result<SocketOwner, OwnerError> { Err(OwnerError::Other) }
pub async fn ready(_: SocketAddr, _: Duration) -> Result<ReadyAnswer, ReadyError> { Err(ReadyError::NotCloudflared) }
pub async fn counters(_: SocketAddr, _: Duration) -> Result<CountersSeen, ReadyError> { Err(ReadyError::NotCloudflared) }
