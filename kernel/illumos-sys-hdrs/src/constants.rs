// SPDX-License-Identifier: CDDL-1.0
//! Constants of the kernel headers, by their C names and values.
#![allow(missing_docs)]

use core::ffi::c_int;

// sys/kmem.h
pub const KM_SLEEP: c_int = 0;
pub const KM_NOSLEEP: c_int = 1;
pub const KM_NORMALPRI: c_int = 8;

// sys/mutex.h, sys/rwlock.h, sys/condvar.h
pub const MUTEX_DRIVER: c_int = 4;
pub const MUTEX_DEFAULT: c_int = 6;
pub const RW_DRIVER: c_int = 2;
pub const RW_DEFAULT: c_int = 4;
pub const RW_WRITER: c_int = 0;
pub const RW_READER: c_int = 1;
pub const CV_DEFAULT: c_int = 0;
pub const CV_DRIVER: c_int = 1;

// sys/stream.h
pub const M_DATA: u8 = 0;
pub const M_PROTO: u8 = 1;
pub const M_IOCTL: u8 = 14;
/// Types from here on are of high priority: no flow control holds them.
pub const QPCTL: u8 = 0x80;
pub const M_IOCACK: u8 = 0x81;
pub const M_IOCNAK: u8 = 0x82;
pub const M_PCPROTO: u8 = 0x83;
pub const M_FLUSH: u8 = 0x86;
pub const M_HANGUP: u8 = 0x89;
pub const M_ERROR: u8 = 0x8a;
pub const M_COPYIN: u8 = 0x8b;
pub const M_COPYOUT: u8 = 0x8c;
pub const M_IOCDATA: u8 = 0x8d;
pub const BPRI_LO: u32 = 1;
pub const BPRI_MED: u32 = 2;
pub const BPRI_HI: u32 = 3;
pub const QENAB: u32 = 0x01;
pub const QWANTR: u32 = 0x02;
pub const QWANTW: u32 = 0x04;
pub const QFULL: u32 = 0x08;
pub const QREADR: u32 = 0x10;
pub const QUSE: u32 = 0x20;
pub const QNOENB: u32 = 0x40;
pub const QPERMOD: u32 = 0x2000;
pub const QWCLOSE: u32 = 0x2_0000;
pub const MODOPEN: c_int = 1;
pub const INFPSZ: isize = -1;
pub const FLUSHDATA: c_int = 0;
pub const FLUSHALL: c_int = 1;
pub const FLUSHR: u8 = 0x01;
pub const FLUSHW: u8 = 0x02;
pub const FLUSHRW: u8 = 0x03;
pub const FLUSHBAND: u8 = 0x04;
/// `ioc_count` of an ioctl(2) whose argument is not copied by the stream head.
pub const TRANSPARENT: u32 = 0xffff_ffff;

// sys/stropts.h
pub const I_NREAD: c_int = 0x5301;
pub const I_FLUSH: c_int = 0x5305;
pub const I_STR: c_int = 0x5308;
pub const RS_HIPRI: c_int = 0x01;

// sys/ddi.h, sys/sunddi.h, sys/devops.h
pub const DDI_SUCCESS: c_int = 0;
pub const DDI_FAILURE: c_int = -1;
pub const DDI_INFO_DEVT2DEVINFO: c_int = 0;
pub const DDI_INFO_DEVT2INSTANCE: c_int = 1;
pub const DDI_SLEEP: c_int = 0;
pub const DDI_NOSLEEP: c_int = 1;
pub const TASKQ_DEFAULTPRI: c_int = -1;
pub const DDI_ATTACH: c_int = 0;
pub const DDI_RESUME: c_int = 1;
pub const DDI_DETACH: c_int = 0;
pub const DDI_SUSPEND: c_int = 1;
pub const DDI_PSEUDO: &core::ffi::CStr = c"ddi_pseudo";
pub const DDI_FM_NOT_CAPABLE: c_int = 0;
pub const DDI_FM_EREPORT_CAPABLE: c_int = 1;
pub const DDI_SERVICE_LOST: c_int = -32;
pub const DDI_SERVICE_DEGRADED: c_int = -16;
pub const DDI_SERVICE_UNAFFECTED: c_int = 0;
pub const DDI_SERVICE_RESTORED: c_int = 16;
pub const DDI_MODEL_MASK: u32 = 0x0ff0_0000;
pub const DDI_MODEL_ILP32: u32 = 0x0010_0000;
pub const DDI_MODEL_LP64: u32 = 0x0020_0000;
pub const DDI_MODEL_NONE: u32 = 0;
pub const DEVO_REV: c_int = 4;
pub const CB_REV: c_int = 1;
pub const D_NEW: c_int = 0;
pub const D_MP: c_int = 0x20;
pub const D_64BIT: c_int = 0x200;
/// The procedures of a pair of queues run one at a time.
pub const D_MTQPAIR: c_int = 0x4000;
/// The driver's procedures run one at a time, whatever the queue.
pub const D_MTPERMOD: c_int = 0x6000;
pub const MODREV_1: c_int = 1;

// sys/open.h, sys/file.h
pub const OTYP_BLK: c_int = 0;
pub const OTYP_CHR: c_int = 2;
pub const FREAD: c_int = 0x01;
pub const FWRITE: c_int = 0x02;
pub const FNDELAY: c_int = 0x04;
pub const FNONBLOCK: c_int = 0x80;
pub const FEXCL: c_int = 0x0400;
/// Set by a 64-bit openat(2): large offsets are allowed.
pub const FOFFMAX: c_int = 0x2000;
/// Set by an open(2) with O_CLOEXEC.
pub const FCLOEXEC: c_int = 0x80_0000;
pub const FKIOCTL: c_int = 0x8000_0000_u32 as c_int;

// sys/cmn_err.h
pub const CE_CONT: c_int = 0;
pub const CE_NOTE: c_int = 1;
pub const CE_WARN: c_int = 2;
pub const CE_PANIC: c_int = 3;

// sys/zone.h
pub const GLOBAL_ZONEID: c_int = 0;
/// No zone in particular. In a packet's header: unknown.
pub const ALL_ZONES: c_int = -1;

// sys/netstack.h
pub const NS_HOOK: c_int = 3;
pub const NS_NETI: c_int = 4;
pub const NS_IP: c_int = 6;
pub const NS_IPNET: c_int = 17;
pub const NS_MAX: c_int = 20;
pub const NSF_ZONE_CREATE: c_int = 0x04;
pub const NSF_ZONE_SHUTDOWN: c_int = 0x08;
pub const NSF_ZONE_DESTROY: c_int = 0x10;

// sys/neti.h, sys/hook.h, sys/hook_event.h
pub const NHF_INET: &core::ffi::CStr = c"NHF_INET";
pub const NHF_INET6: &core::ffi::CStr = c"NHF_INET6";
pub const NH_NIC_EVENTS: &core::ffi::CStr = c"NIC_EVENTS";
pub const NH_OBSERVE: &core::ffi::CStr = c"OBSERVING";
pub const NA_ADDRESS: u32 = 1;
pub const NA_PEER: u32 = 2;
pub const NA_BROADCAST: u32 = 3;
pub const NA_NETMASK: u32 = 4;
pub const HOOK_VERSION: c_int = 1;
pub const HOOK_RDONLY: u32 = 1;
pub const HH_NONE: u32 = 0;
pub const HH_FIRST: u32 = 1;
pub const HH_LAST: u32 = 2;
pub const HH_BEFORE: u32 = 3;
pub const HH_AFTER: u32 = 4;
pub const NE_PLUMB: u32 = 1;
pub const NE_UNPLUMB: u32 = 2;
pub const NE_UP: u32 = 3;
pub const NE_DOWN: u32 = 4;
pub const NE_ADDRESS_CHANGE: u32 = 5;
pub const NE_LIF_UP: u32 = 6;
pub const NE_LIF_DOWN: u32 = 7;
pub const NE_IFINDEX_CHANGE: u32 = 8;
pub const IPOBS_HOOK_INBOUND: u32 = 0;
pub const IPOBS_HOOK_OUTBOUND: u32 = 1;
pub const IPOBS_HOOK_LOCAL: u32 = 2;

// net/if.h
pub const LIFNAMSIZ: usize = 32;
pub const IFF_UP: u64 = 0x01;
pub const IFF_BROADCAST: u64 = 0x02;
pub const IFF_LOOPBACK: u64 = 0x08;
pub const IFF_RUNNING: u64 = 0x40;
pub const IFF_MULTICAST: u64 = 0x0800;
pub const IFF_IPV4: u64 = 0x0100_0000;
pub const IFF_IPV6: u64 = 0x0200_0000;

// sys/kstat.h
pub const KSTAT_STRLEN: usize = 31;
pub const KSTAT_TYPE_NAMED: u8 = 1;
pub const KSTAT_FLAG_VIRTUAL: u8 = 0x01;
pub const KSTAT_FLAG_PERSISTENT: u8 = 0x08;
pub const KSTAT_READ: c_int = 0;
pub const KSTAT_WRITE: c_int = 1;
pub const KSTAT_DATA_CHAR: u8 = 0;
pub const KSTAT_DATA_UINT32: u8 = 2;
pub const KSTAT_DATA_UINT64: u8 = 4;
pub const KSTAT_DATA_STRING: u8 = 9;

// sys/mac.h, sys/mac_provider.h, sys/dlpi.h
pub const MAC_VERSION: u32 = 1;
pub const DL_ETHER: u32 = 4;
pub const MAC_PLUGIN_IDENT_ETHER: &core::ffi::CStr = c"mac_ether";
pub const MAC_VIRT_NONE: u32 = 0;
pub const MC_IOCTL: u32 = 0x002;
pub const MC_GETCAPAB: u32 = 0x004;
pub const MC_OPEN: u32 = 0x008;
pub const MC_CLOSE: u32 = 0x010;
pub const MC_SETPROP: u32 = 0x020;
pub const MC_GETPROP: u32 = 0x040;
pub const MC_PROPINFO: u32 = 0x080;
pub const MAC_PROP_PRIVATE: c_int = -1;
pub const MAC_PROP_STATUS: c_int = 3;
pub const MAC_PROP_MTU: c_int = 6;
pub const MAC_PROP_PERM_READ: u32 = 0x01;
pub const MAC_PROP_PERM_WRITE: u32 = 0x10;
pub const MAC_PROP_PERM_RW: u32 = 0x11;
pub const MAC_PROPVAL_UINT8: u32 = 0;
pub const MAC_PROPVAL_UINT32: u32 = 1;
pub const MAC_PROPVAL_STR: u32 = 2;
pub const MAC_CAPAB_HCKSUM: u32 = 0x0000_0001;
pub const MAC_CAPAB_LSO: u32 = 0x0000_0008;
pub const MAC_CAPAB_RINGS: u32 = 0x0000_0010;
pub const MAC_CAPAB_VNIC: u32 = 0x0001_0000;
pub const MAC_CAPAB_OVERLAY: u32 = 0x0080_0000;
pub const LSO_TX_BASIC_TCP_IPV4: u32 = 1;
pub const LSO_TX_BASIC_TCP_IPV6: u32 = 2;
pub const MAC_ADDRTYPE_UNICAST: u32 = 0;
pub const MAC_ADDRTYPE_MULTICAST: u32 = 1;
pub const MAC_ADDRTYPE_BROADCAST: u32 = 2;
pub const MAC_STAT_IFSPEED: u32 = 1000;
pub const MAC_STAT_RBYTES: u32 = 1011;
pub const MAC_STAT_IPACKETS: u32 = 1012;
pub const MAC_STAT_OBYTES: u32 = 1013;
pub const MAC_STAT_OPACKETS: u32 = 1014;
pub const LINK_STATE_UNKNOWN: c_int = -1;
pub const LINK_STATE_DOWN: c_int = 0;
pub const LINK_STATE_UP: c_int = 1;
pub const HCK_IPV4_HDRCKSUM: u32 = 0x01;
pub const HCK_PARTIALCKSUM: u32 = 0x02;
pub const HCK_FULLCKSUM: u32 = 0x04;
pub const HCK_FULLCKSUM_OK: u32 = 0x08;
pub const HCK_FLAGS: u32 = 0x0f;
pub const HW_LSO: u32 = 0x10;

// sys/dld.h, sys/dld_ioc.h
pub const DLD_IOC: u16 = 0x0d1d;
pub const AGGR_IOC: u16 = 0x0a66;
pub const VNIC_IOC: u16 = 0x0171;
pub const OVERLAY_IOC: u16 = 0x2005;
pub const DLDCOPYIN: u32 = 0x01;
pub const DLDCOPYOUT: u32 = 0x02;
pub const DLDCOPYINOUT: u32 = 0x03;

// sys/socket.h, netinet/in.h, netinet/udp.h
pub const AF_UNSPEC: c_int = 0;
pub const AF_INET: c_int = 2;
pub const AF_INET6: c_int = 26;
/// illumos numbers datagram sockets 1 and stream sockets 2, the other way round than Linux.
pub const SOCK_DGRAM: c_int = 1;
pub const SOCK_STREAM: c_int = 2;
pub const IPPROTO_UDP: c_int = 17;
pub const SOL_SOCKET: c_int = 0xffff;
pub const SO_SNDBUF: c_int = 0x1001;
pub const SO_RCVBUF: c_int = 0x1002;
pub const UDP_SRCPORT_HASH: c_int = 0x0104;
pub const UDP_HASH_DISABLE: c_int = 0;
pub const UDP_HASH_VXLAN: c_int = 1;
pub const MSG_OOB: c_int = 0x01;
pub const MSG_DONTWAIT: c_int = 0x80;
pub const KSOCKET_SLEEP: c_int = 0;
pub const KSOCKET_NOSLEEP: c_int = 1;

// sys/tihdr.h
pub const T_UNITDATA_REQ: c_int = 8;
pub const T_UNITDATA_IND: c_int = 20;

// sys/ethernet.h
pub const ETHERTYPE_VLAN: u32 = 0x8100;

// sys/u8_textprep.h
pub const U8_VALIDATE_ENTIRE: c_int = 0x0010_0000;
