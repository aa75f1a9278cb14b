//! Direct declarations of server functions, without a guard. See the module `pg` for when they may be used.

use core::ffi::{c_char, c_int, c_void};

use pgrx::pg_sys::{
    Buffer, BufferAccessStrategy, Datum, EState, Expr, ExprContext, ExprState, FmgrInfo, ForkNumber,
    FunctionCallInfo, HeapTuple, IndexInfo, MemoryContext, Oid, ReadBufferMode, Relation, ScanDirection,
    ScanKeyData, Snapshot, SysScanDesc, TransactionId, TupleDesc, TupleTableSlot, TupleTableSlotOps, varlena,
};

unsafe extern "C-unwind" {
    // src/backend/utils/fmgr/fmgr.c
    pub fn pg_detoast_datum(datum: *mut varlena) -> *mut varlena;
    pub fn FunctionCall2Coll(function: *mut FmgrInfo, collation: Oid, first: Datum, second: Datum) -> Datum;
    pub fn pg_detoast_datum_slice(datum: *mut varlena, first: i32, count: i32) -> *mut varlena;

    // src/backend/utils/adt/datum.c
    pub fn datum_image_eq(one: Datum, other: Datum, by_value: bool, length: c_int) -> bool;

    // src/backend/utils/adt/numeric.c
    pub fn numeric_float4(fcinfo: FunctionCallInfo) -> Datum;
    pub fn numeric_float8_no_overflow(fcinfo: FunctionCallInfo) -> Datum;

    // src/backend/utils/adt/jsonb.c
    pub fn jsonb_in(fcinfo: FunctionCallInfo) -> Datum;

    // src/backend/utils/mmgr/mcxt.c
    pub fn MemoryContextReset(context: MemoryContext);
    pub fn MemoryContextAlloc(context: MemoryContext, size: usize) -> *mut c_void;
    pub fn MemoryContextAllocZero(context: MemoryContext, size: usize) -> *mut c_void;
    pub fn MemoryContextAllocExtended(context: MemoryContext, size: usize, flags: c_int) -> *mut c_void;
    pub fn palloc(size: usize) -> *mut c_void;
    pub fn palloc0(size: usize) -> *mut c_void;
    pub fn pfree(pointer: *mut c_void);

    // src/backend/executor/nodeAgg.c
    pub fn AggCheckCallContext(fcinfo: FunctionCallInfo, context: *mut MemoryContext) -> c_int;

    // src/backend/access/transam/xact.c
    pub fn GetCurrentTransactionStartTimestamp() -> i64;
    pub fn GetCurrentSubTransactionId() -> u32;
    pub fn GetCurrentStatementStartTimestamp() -> i64;

    pub fn TransactionIdIsCurrentTransactionId(xid: TransactionId) -> bool;

    // src/backend/access/transam/transam.c
    pub fn TransactionIdDidCommit(xid: TransactionId) -> bool;

    // src/backend/access/table/table.c
    pub fn table_open(relation: Oid, lockmode: c_int) -> Relation;
    pub fn table_close(relation: Relation, lockmode: c_int);

    // src/backend/storage/buffer/bufmgr.c
    pub fn RelationGetNumberOfBlocksInFork(relation: Relation, fork: ForkNumber::Type) -> u32;
    pub static BufferBlocks: *mut c_char;
    pub static BufferDescriptors: *mut c_void;
    pub static LocalBufferBlockPointers: *mut *mut c_void;
    #[cfg(not(feature = "pg13"))]
    pub fn PrefetchBuffer(
        relation: Relation,
        fork: ForkNumber::Type,
        block: u32,
    ) -> pgrx::pg_sys::PrefetchBufferResult;
    pub fn ReadBuffer(relation: Relation, block: u32) -> Buffer;
    pub fn ReadBufferExtended(
        relation: Relation,
        fork: ForkNumber::Type,
        block: u32,
        mode: ReadBufferMode::Type,
        strategy: BufferAccessStrategy,
    ) -> Buffer;
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    pub fn ReadRecentBuffer(
        place: pgrx::pg_sys::RelFileNode,
        fork: ForkNumber::Type,
        block: u32,
        buffer: Buffer,
    ) -> bool;
    #[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
    pub fn ReadRecentBuffer(
        place: pgrx::pg_sys::RelFileLocator,
        fork: ForkNumber::Type,
        block: u32,
        buffer: Buffer,
    ) -> bool;
    // the place is a RelFileNode, from PostgreSQL 16 on a RelFileLocator: three numbers
    pub fn BufferGetTag(buffer: Buffer, place: *mut [Oid; 3], fork: *mut ForkNumber::Type, block: *mut u32);
    pub fn LockBuffer(buffer: Buffer, mode: c_int);
    pub fn UnlockReleaseBuffer(buffer: Buffer);
    pub fn MarkBufferDirty(buffer: Buffer);

    // src/backend/access/transam/xloginsert.c
    pub fn XLogRegisterBuffer(block_id: u8, buffer: Buffer, flags: u8);
    pub fn XLogRegisterBufData(block_id: u8, data: *const c_void, len: u32);
    pub fn XLogInsert(manager: u8, info: u8) -> u64;

    // src/backend/access/common/heaptuple.c
    pub fn nocachegetattr(tuple: HeapTuple, number: c_int, columns: TupleDesc) -> Datum;

    // src/backend/access/common/toast_internals.c
    pub fn toast_open_indexes(
        toast_relation: Relation,
        lock: c_int,
        indexes: *mut *mut Relation,
        count: *mut c_int,
    ) -> c_int;
    pub fn toast_close_indexes(indexes: *mut Relation, count: c_int, lock: c_int);

    // src/backend/access/index/genam.c, src/backend/access/common/scankey.c
    pub fn ScanKeyInit(
        entry: *mut ScanKeyData,
        attribute: i16,
        strategy: u16,
        procedure: Oid,
        argument: Datum,
    );
    pub fn systable_beginscan_ordered(
        heap: Relation,
        index: Relation,
        snapshot: Snapshot,
        keys: c_int,
        key: *mut ScanKeyData,
    ) -> SysScanDesc;
    pub fn systable_getnext_ordered(scan: SysScanDesc, direction: ScanDirection::Type) -> HeapTuple;
    pub fn systable_endscan_ordered(scan: SysScanDesc);

    // src/backend/executor, src/backend/access/common/tupdesc.c, src/backend/access/table, src/backend/catalog/index.c
    pub fn CreateTupleDescCopyConstr(descriptor: TupleDesc) -> TupleDesc;
    pub fn table_slot_callbacks(relation: Relation) -> *const TupleTableSlotOps;
    pub fn MakeSingleTupleTableSlot(
        descriptor: TupleDesc,
        operations: *const TupleTableSlotOps,
    ) -> *mut TupleTableSlot;
    pub fn ExecDropSingleTupleTableSlot(slot: *mut TupleTableSlot);
    pub fn slot_getsomeattrs_int(slot: *mut TupleTableSlot, column: c_int);
    pub fn BuildIndexInfo(index: Relation) -> *mut IndexInfo;
    pub fn CreateExecutorState() -> *mut EState;
    pub fn FreeExecutorState(state: *mut EState);
    pub fn MakePerTupleExprContext(state: *mut EState) -> *mut ExprContext;
    pub fn ExecPrepareExpr(expression: *mut Expr, state: *mut EState) -> *mut ExprState;

    // src/backend/utils/error/elog.c
    pub fn errstart(elevel: c_int, domain: *const c_char) -> bool;
    pub fn errcode(sqlerrcode: c_int) -> c_int;
    pub fn errmsg_internal(format: *const c_char, ...) -> c_int;
    pub fn errdetail_internal(format: *const c_char, ...) -> c_int;
    pub fn errhint(format: *const c_char, ...) -> c_int;
    pub fn errfinish(filename: *const c_char, lineno: c_int, funcname: *const c_char);
    pub fn pg_re_throw() -> !;
}

#[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
unsafe extern "C-unwind" {
    pub fn errsave_start(context: *mut pgrx::pg_sys::Node, domain: *const c_char) -> bool;
    pub fn errsave_finish(
        context: *mut pgrx::pg_sys::Node,
        filename: *const c_char,
        lineno: c_int,
        funcname: *const c_char,
    );
}
