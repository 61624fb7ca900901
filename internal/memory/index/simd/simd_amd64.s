//go:build !purego

#include "textflag.h"

// PRODUCT sets X0 to the product of the numbers at SI and the query at R8. There
// are R9 chunks; the last sixteen numbers end at DX(SI*1), and of the query they
// meet what no chunk has.
#define PRODUCT(next) \
	VPXOR        Y0, Y0, Y0    \
	MOVQ         SI, R10       \
	MOVQ         R8, R11       \
	MOVQ         R9, R12       \
next:                          \
	VPMOVSXBW    (R10), Y1     \
	VPMADDWD     (R11), Y1, Y1 \
	VPADDD       Y1, Y0, Y0    \
	ADDQ         $16, R10      \
	ADDQ         $32, R11      \
	DECQ         R12           \
	JNZ          next          \
	VPMOVSXBW    -16(SI)(DX*1), Y1 \
	VPMADDWD     (R11), Y1, Y1 \
	VPADDD       Y1, Y0, Y0    \
	VEXTRACTI128 $1, Y0, X1    \
	VPADDD       X1, X0, X0    \
	VPSHUFD      $0x4e, X0, X1 \
	VPADDD       X1, X0, X0    \
	VPSHUFD      $0xb1, X0, X1 \
	VPADDD       X1, X0, X0

// func products(out *int32, rows *byte, n, dims int, query *int16)
TEXT ·products(SB), NOSPLIT, $0-40
	MOVQ out+0(FP), DI
	MOVQ rows+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ dims+24(FP), DX
	MOVQ query+32(FP), R8
	MOVQ DX, R9
	SHRQ $4, R9

row:
	PRODUCT(chunk)
	VMOVD X0, (DI)
	ADDQ  $4, DI
	ADDQ  DX, SI
	DECQ  CX
	JNZ   row
	VZEROUPPER
	RET

// ahead is how many rows before it is read a row is fetched.
#define ahead 8

// func productsAt(out *int32, rows *byte, places *int32, n, dims int, query *int16)
TEXT ·productsAt(SB), NOSPLIT, $0-48
	MOVQ out+0(FP), DI
	MOVQ rows+8(FP), BX
	MOVQ places+16(FP), AX
	MOVQ n+24(FP), CX
	MOVQ dims+32(FP), DX
	MOVQ query+40(FP), R8
	MOVQ DX, R9
	SHRQ $4, R9

row:
	CMPQ       CX, $ahead
	JLE        read
	MOVLQSX    (4*ahead)(AX), SI
	IMULQ      DX, SI
	ADDQ       BX, SI
	PREFETCHT0 (SI)
	PREFETCHT0 64(SI)

read:
	MOVLQSX (AX), SI
	IMULQ   DX, SI
	ADDQ    BX, SI
	PRODUCT(chunk)
	VMOVD   X0, (DI)
	ADDQ    $4, DI
	ADDQ    $4, AX
	DECQ    CX
	JNZ     row
	VZEROUPPER
	RET

DATA nibble<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA nibble<>+8(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA nibble<>+16(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA nibble<>+24(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL nibble<>(SB), RODATA|NOPTR, $32

// The sums of four bytes of signs fit into a byte: 4 * 8 * 7 is 224.
#define together 4

// func sift(agreements *uint16, reached *uint32, sketches *byte, blocks, size int, tables *table, least uint16)
TEXT ·sift(SB), NOSPLIT, $0-50
	MOVQ         agreements+0(FP), DI
	MOVQ         reached+8(FP), BX
	MOVQ         sketches+16(FP), SI
	MOVQ         blocks+24(FP), CX
	MOVQ         size+32(FP), DX
	MOVQ         tables+40(FP), R8
	MOVWLZX      least+48(FP), AX
	VMOVD        AX, X13
	VPBROADCASTW X13, Y13
	VPXOR        Y14, Y14, Y14
	VMOVDQU      nibble<>(SB), Y15

block:
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	MOVQ  R8, R11
	MOVQ  DX, R9

some:
	VPXOR   Y2, Y2, Y2
	MOVQ    $together, R10
	CMPQ    R9, R10
	CMOVQLT R9, R10
	SUBQ    R10, R9

signs:
	// The processor's own reading ahead is too short for work as quick as this.
	PREFETCHT0     4096(SI)
	VMOVDQU        (SI), Y3
	VPSRLW         $4, Y3, Y4
	VPAND          Y15, Y3, Y3
	VPAND          Y15, Y4, Y4
	VBROADCASTI128 (R11), Y5
	VBROADCASTI128 16(R11), Y6
	VPSHUFB        Y3, Y5, Y5
	VPSHUFB        Y4, Y6, Y6
	VPADDB         Y5, Y2, Y2
	VPADDB         Y6, Y2, Y2
	ADDQ           $32, SI
	ADDQ           $32, R11
	DECQ           R10
	JNZ            signs

	VPUNPCKLBW Y14, Y2, Y3
	VPUNPCKHBW Y14, Y2, Y4
	VPADDUSW   Y3, Y0, Y0
	VPADDUSW   Y4, Y1, Y1
	TESTQ      R9, R9
	JNZ        some

	// Y0 has the sketches 0 to 7 and 16 to 23, Y1 the others.
	VPMAXUW    Y0, Y13, Y2
	VPMAXUW    Y1, Y13, Y3
	VPCMPEQW   Y0, Y2, Y2
	VPCMPEQW   Y1, Y3, Y3
	VPACKSSWB  Y3, Y2, Y2
	VPMOVMSKB  Y2, AX
	MOVL       AX, (BX)
	VPERM2I128 $0x20, Y1, Y0, Y2
	VPERM2I128 $0x31, Y1, Y0, Y3
	VMOVDQU    Y2, (DI)
	VMOVDQU    Y3, 32(DI)
	ADDQ       $64, DI
	ADDQ       $4, BX
	DECQ       CX
	JNZ        block
	VZEROUPPER
	RET
