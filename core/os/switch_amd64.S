// graft_leave, graft_resume and the first frame of a made context; see switch.h. Both stacks have the
// same frame at the instant of the switch, so one set of CFI rows is right before and after it. Any
// stack outside signal handlers; no locks. Source: the System V ABI's list of callee-saved state.
  .macro SAVE
  .irp reg, rbp, rbx, r12, r13, r14, r15
  pushq %\reg
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset %\reg, 0
  .endr
  subq $8, %rsp  // the control words
  .cfi_adjust_cfa_offset 8
  .endm

  .macro RESTORE
  addq $8, %rsp
  .cfi_adjust_cfa_offset -8
  .irp reg, r15, r14, r13, r12, rbx, rbp
  popq %\reg
  .cfi_adjust_cfa_offset -8
  .cfi_restore %\reg
  .endr
  .endm

  // To the stack, and the FS base if it has one, of the Context that rsi points to.
  .macro GO_TO_RSI
  movq 8(%rsi), %rdx
  movq (%rsi), %rsp
  testq %rdx, %rdx
  je 1f
  wrfsbase %rdx
1:
  .endm

  .text
  .globl graft_leave
  .hidden graft_leave
  .type graft_leave, @function
  .p2align 4
graft_leave:
  .cfi_startproc
  SAVE
  stmxcsr (%rsp)
  fnstcw 4(%rsp)
  movq %rsp, %rax
  movq %rsp, (%rdi)
  GO_TO_RSI
  // Nobody else may resume what has just been left before the home says so: its stack can be read.
  movl (%rax), %ecx
  movl %ecx, 16(%rsi)
  movzwl 4(%rax), %ecx
  movw %cx, 20(%rsi)
  RESTORE
  ret
  .cfi_endproc
  .size graft_leave, .-graft_leave

  .globl graft_resume
  .hidden graft_resume
  .type graft_resume, @function
  .p2align 4
graft_resume:
  .cfi_startproc
  SAVE
  movq %rsp, (%rdi)
  GO_TO_RSI
  // Loading a control word costs more than comparing it, and most are equal. Reading the current
  // one costs as much: the home knows it.
  movl 16(%rdi), %ecx
  cmpl (%rsp), %ecx
  je 2f
  ldmxcsr (%rsp)
2:
  movzwl 20(%rdi), %ecx
  cmpw 4(%rsp), %cx
  je 3f
  fldcw 4(%rsp)
3:
  RESTORE
  ret
  .cfi_endproc
  .size graft_resume, .-graft_resume

// r12: entry, r13: its argument; rsp is 16-byte aligned.
  .globl graft_first_frame
  .hidden graft_first_frame
  .type graft_first_frame, @function
  .p2align 4
graft_first_frame:
  .cfi_startproc
  .cfi_undefined %rip
  movq %r13, %rdi
  callq *%r12
  ud2
  .cfi_endproc
  .size graft_first_frame, .-graft_first_frame

  .section .note.GNU-stack, "", @progbits
