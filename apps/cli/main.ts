/** The coffer command. */
import { wholeArguments } from './arguments.ts';
import { buildProgram } from './program.ts';
import { runProgram } from './run.ts';

process.exitCode = await runProgram(buildProgram(), wholeArguments(process.argv));
