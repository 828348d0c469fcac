# SPDX-License-Identifier: CDDL-1.0
#
# Where a program for illumos amd64 begins, and the objects that libc looks for in every program.
#
# The kernel, through ld.so.1, leaves on the stack: argc, the pointers of argv, NULL, those of the environment, NULL,
# the auxiliary vector. %rdx holds what ld.so.1 wants to have run at exit, or 0. There is no return address. The psABI
# of amd64 says so, and elf.c and ld.so.1 of illumos do.

	.text
	.globl	_start
	.type	_start, @function
_start:
	xorl	%ebp, %ebp			# the outermost frame, for those who walk the stack
	movl	(%rsp), %ebx			# argc
	leaq	8(%rsp), %r12			# argv
	leaq	16(%rsp, %rbx, 8), %r13		# environment
	andq	$-16, %rsp
	movq	%r12, ___Argv(%rip)
	movq	%r13, _environ(%rip)
	testq	%rdx, %rdx
	jz	0f
	movq	%rdx, %rdi
	call	atexit
0:	call	__fpstart			# floating point as libc expects it
	movl	%ebx, %edi
	movq	%r12, %rsi
	movq	%r13, %rdx
	call	main
	movl	%eax, %edi
	call	exit
	ud2
	.size	_start, . - _start

	.macro	object name, size
	.globl	\name
	.type	\name, @object
	.size	\name, \size
\name:
	.endm

	.bss
	.balign	8
	# One variable under two names, which libc binds to.
	object	_environ, 8
	object	environ, 8
	.skip	8
	object	___Argv, 8
	.skip	8

	# The standards a program was compiled for: ANSI C with extensions, XPG4, and XPG6 with all of C99, which is what
	# cc -std=c99 selects and rustc's target asks for.
	.section .rodata
	.balign	4
	object	_lib_version, 4
	.long	1
	.data
	.balign	4
	object	__xpg4, 4
	.long	1
	object	__xpg6, 4
	.long	0xffff
	object	__longdouble_used, 4
	.long	0
	.section .note.GNU-stack, "", @progbits
