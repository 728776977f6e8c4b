from mind_animator.cli import main

main()
